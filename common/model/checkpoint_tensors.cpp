#include "common/model/checkpoint_tensors.h"

#include "common/error.h"
#include "common/model/expected_tensors.h"
#include "common/model/model_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace longrope {
namespace {

constexpr const char* kQuantized = "; the weights are quantized: take the checkpoint that they were made from";

bool is_floating(std::string_view dtype) { return dtype == "F32" || dtype == "F16" || dtype == "BF16"; }

/// What helps against a shape that config.json does not give.
std::string shape_help(const std::string& name, const TensorView& view, const std::vector<std::int64_t>& shape) {
  const bool one_row_per_word = name == kEmbeddingName || name == kOutputEmbeddingName;
  if (!one_row_per_word || view.shape.size() != 2 || view.shape[1] != shape[1]) return "";
  return fmt::format("; where its vocabulary was padded or extended, set vocab_size to {} in config.json",
                     view.shape[0]);
}

/// What helps against a dtype that is not read.
std::string dtype_help(std::string_view dtype, const std::filesystem::path& directory) {
  if (dtype != "F64") return kQuantized;
  return fmt::format(
      "; save them as float32 with transformers, AutoModelForCausalLM.from_pretrained(\"{}\", "
      "dtype=\"float32\").save_pretrained(\"DIR\")",
      directory.native());
}

}  // namespace

CheckpointTensors::CheckpointTensors(const std::filesystem::path& directory)
    : directory_(directory), paths_(weight_files(directory)) {
  files_.reserve(paths_.size());
  for (const std::filesystem::path& path : paths_) {
    files_.emplace_back(path);
    for (const auto& [name, view] : files_.back().tensors()) {
      const auto [place, inserted] = places_.try_emplace(name, files_.size() - 1);
      if (!inserted) {
        throw InputError(fmt::format("a tensor must be in one shard: {} is in {} and {}", name,
                                     paths_[place->second].native(), path.native()));
      }
    }
  }
}

const TensorView* CheckpointTensors::find(const std::string& name) const {
  const auto place = places_.find(name);
  return place == places_.end() ? nullptr : &files_[place->second].tensors().at(name);
}

const std::filesystem::path& CheckpointTensors::file_of(const std::string& name) const {
  return paths_[places_.at(name)];
}

void CheckpointTensors::refuse_missing(const std::string& name) const {
  std::string help;
  constexpr std::array kPackedSuffixes = {".qweight", ".weight_packed"};
  const std::string projection = name.substr(0, name.rfind('.'));
  const auto same_tensor = [&](const auto& place) {
    return place.first.ends_with("." + name) || name.ends_with("." + place.first);
  };
  if (std::ranges::any_of(kPackedSuffixes, [&](const char* suffix) { return find(projection + suffix) != nullptr; })) {
    help = kQuantized;
  } else if (name == kOutputEmbeddingName) {
    help = "; if the embedding serves as lm_head too, set tie_word_embeddings to true in config.json";
  } else if (const auto other = std::ranges::find_if(places_, same_tensor); other != places_.end()) {
    help =
        fmt::format("; here it is {}: save the model again with transformers, save_pretrained(\"DIR\")", other->first);
  }
  throw InputError(fmt::format("missing tensor: {}{} ({})", name, help, directory_.native()));
}

const TensorView& CheckpointTensors::require(const std::string& name, const std::vector<std::int64_t>& shape) const {
  const TensorView* const view = find(name);
  if (view == nullptr) refuse_missing(name);
  const std::string& path = file_of(name).native();
  if (view->shape != shape) {
    throw InputError(fmt::format("shape mismatch: {} is [{}], config.json gives [{}]{} ({})", name,
                                 fmt::join(view->shape, ", "), fmt::join(shape, ", "), shape_help(name, *view, shape),
                                 path));
  }
  if (!is_floating(view->dtype)) {
    throw InputError(fmt::format("weights must be F32, F16 or BF16: {} is {}{} ({})", name, view->dtype,
                                 dtype_help(view->dtype, directory_), path));
  }
  return *view;
}

void CheckpointTensors::require_no_other(const std::set<std::string>& used,
                                         const std::set<std::string>& ignored) const {
  for (const auto& [name, file] : places_) {
    const auto is_suffix = [&name = name](const std::string& suffix) { return name.ends_with(suffix); };
    if (used.contains(name) || std::ranges::any_of(ignored, is_suffix)) continue;
    const char* const help = name.find(".lora_") == std::string::npos ? "" : "; merge the adapter first";
    throw InputError(fmt::format("every tensor must belong to the architecture: {} does not{} ({})", name, help,
                                 paths_[file].native()));
  }
}

}  // namespace longrope
