#pragma once

#include "common/error.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <new>
#include <string_view>

namespace longrope {

/// Runs `work`, translating Torch's exceptions: std::bad_alloc when an allocation failed, else Error.
template <typename Work>
auto translating_errors(const Work& work) {
  try {
    return work();
  } catch (const c10::OutOfMemoryError&) {
    throw std::bad_alloc();
  } catch (const c10::Error& error) {
    // Torch has no type for a failed host allocation, only this text.
    const std::string_view message = error.what_without_backtrace();
    if (message.find("DefaultCPUAllocator") != std::string_view::npos) throw std::bad_alloc();
    throw Error(fmt::format("Torch failed: {}", message));
  }
}

}  // namespace longrope
