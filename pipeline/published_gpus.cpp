#include "pipeline/published_gpus.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>

namespace longrope {
namespace {

// A name that another begins with stands behind it.
constexpr std::array<PublishedGpu, 12> kGpus = {{
    {"B200", 2250.0, 75.0, 180},
    {"H200", 989.0, 67.0, 141},
    {"H100 PCIe", 756.0, 51.0, 80},
    {"H100", 989.0, 67.0, 80},
    {"A100", 312.0, 19.5, 80},
    {"L40S", 362.0, 91.6, 48},
    {"RTX 6000 Ada", 364.0, 91.1, 48},
    {"RTX A6000", 155.0, 38.7, 48},
    {"RTX 4090", 165.0, 82.6, 24},
    {"RTX 3090", 71.0, 35.6, 24},
    {"L4", 121.0, 30.3, 24},
    {"A10", 125.0, 31.2, 24},
}};

/// Whether `text` has `word` with neither letter nor digit beside it: an L40 is no L4, a GH200 no H200.
bool has_word(std::string_view text, std::string_view word) {
  const auto is_apart = [&](std::size_t place) {
    return place >= text.size() || std::isalnum(static_cast<unsigned char>(text[place])) == 0;
  };
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    if ((at == 0 || is_apart(at - 1)) && is_apart(at + word.size())) return true;
  }
  return false;
}

}  // namespace

std::span<const PublishedGpu> published_gpus() { return kGpus; }

const PublishedGpu* published_gpu(std::string_view model) {
  const auto* const found =
      std::ranges::find_if(kGpus, [&](const PublishedGpu& gpu) { return has_word(model, gpu.name); });
  return found == kGpus.end() ? nullptr : found;
}

}  // namespace longrope
