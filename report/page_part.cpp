#include "report/page_part.h"

#include "report/page_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace longrope {

std::string_view page_part(std::string_view name) {
  const std::span<const EmbeddedFile> files = page_files();
  const auto found = std::ranges::find(files, name, &EmbeddedFile::name);
  if (found == files.end()) throw std::out_of_range(fmt::format("no page part of this name is compiled in: {}", name));
  return found->content;
}

}  // namespace longrope
