#include "common/documents/retrieval_depth.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace longrope {
namespace {

constexpr std::size_t kDepthDigits = 5;   // "0.500"
constexpr std::size_t kSampleDigits = 2;  // at least: "03"

bool digits(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

double retrieval_depth(std::string_view document_name) {
  const auto refuse = [&] {
    return InputError(
        fmt::format("the name of a needle or passkey document must end in -DEPTH-SAMPLE, as in passkey-0.500-03: {}",
                    document_name));
  };
  const std::size_t sample = document_name.rfind('-');
  if (sample == std::string_view::npos || sample < kDepthDigits + 1) throw refuse();
  const std::string_view number = document_name.substr(sample + 1);
  const std::string_view depth = document_name.substr(sample - kDepthDigits, kDepthDigits);
  if (number.size() < kSampleDigits || !digits(number) || document_name[sample - kDepthDigits - 1] != '-' ||
      !digits(depth.substr(0, 1)) || depth[1] != '.' || !digits(depth.substr(2))) {
    throw refuse();
  }
  double value = 0.0;
  std::from_chars(depth.data(), depth.data() + depth.size(), value);
  if (value > 1.0) throw refuse();
  return value;
}

}  // namespace longrope
