#include "coordinator/export/hugging_face_export.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/factors_file.h"
#include "common/model_description.h"
#include "common/read_file.h"
#include "common/strict_json.h"
#include "common/write_file.h"

namespace longrope {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of the model's own keys

constexpr const char* kConfigFile = "config.json";
constexpr const char* kFactorsFile = "longrope_factors.json";
constexpr std::size_t kMaxConfigBytes = 16U << 20U;

/// Removes what was built unless it was renamed into place.
class UnfinishedDirectory {
 public:
  explicit UnfinishedDirectory(const fs::path& out) : path_(fmt::format("{}.unfinished-{}", out.string(), ::getpid())) {
    if (!fs::create_directory(path_)) throw Error(fmt::format("folder must not exist: {}", path_.string()));
  }
  ~UnfinishedDirectory() {
    std::error_code ignored;
    if (!renamed_) fs::remove_all(path_, ignored);
  }
  UnfinishedDirectory(const UnfinishedDirectory&) = delete;
  UnfinishedDirectory& operator=(const UnfinishedDirectory&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

  void rename_to(const fs::path& out) {
    // Copies may still be in memory only; after a power loss the new name must not stand for empty files.
    const int descriptor = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = descriptor >= 0 && ::syncfs(descriptor) == 0;
    const int cause = errno;
    if (descriptor >= 0) ::close(descriptor);
    if (!synced) throw Error(fmt::format("cannot sync the export: {} ({})", std::strerror(cause), path_.string()));
    fs::rename(path_, out);
    renamed_ = true;
  }

 private:
  fs::path path_;
  bool renamed_ = false;
};

OrderedJson read_config(const fs::path& file) {
  const std::string text = read_file(file, kMaxConfigBytes);
  static_cast<void>(
      parse_strict_json(text, file.native()));  // duplicate keys and depth; the next parse keeps the order
  return OrderedJson::parse(text);
}

/// Transformers 4 demands exactly three keys of a Phi-3 and computes the attention factor itself.
OrderedJson phi3_rope_scaling(const RescaleFactors& factors, const ModelDescription& model, double ratio) {
  constexpr double kTolerance = 1e-12;
  const double computed = attention_factor(AttentionPolicy::kSu, ratio, model.scaling.reached_length).value;
  if (std::abs(factors.attention.value - computed) > kTolerance) {
    throw InputError(
        fmt::format("attention factor must be su, {}, for a Phi3ForCausalLM of transformers 4, which cannot "
                    "be told another: {}; export for transformers 5",
                    computed, factors.attention.value));
  }
  return {
      {"type", "longrope"}, {"short_factor", model.scaling.beyond_original.lambda}, {"long_factor", factors.lambda}};
}

/// The model was scored without its sliding windows; transformers must not apply them either.
void disable_sliding_window(OrderedJson& config, const ModelDescription& model) {
  if (model.sliding_window() == 0) return;
  config["sliding_window"] = nullptr;  // absent would be a default of thousands of tokens
  config.erase("layer_types");
  if (config.contains("use_sliding_window")) config["use_sliding_window"] = false;
}

/// Takes the rope parameters out. Returns the partial_rotary_factor, wherever it stood.
std::optional<double> take_rope_parameters(OrderedJson& config) {
  constexpr const char* kPart = "partial_rotary_factor";
  std::optional<double> part;
  for (const char* const key : {"rope_scaling", "rope_parameters"}) {
    const auto rope = config.find(key);
    if (rope != config.end() && rope->is_object() && rope->contains(kPart) && rope->at(kPart).is_number()) {
      part = rope->at(kPart).get<double>();
    }
    config.erase(key);
  }
  config.erase("rope_theta");
  if (config.contains(kPart) && config.at(kPart).is_number()) part = config.at(kPart).get<double>();
  return part;
}

void patch_config(OrderedJson& config, const RescaleFactors& factors, const ModelDescription& model,
                  std::int64_t target_length, HuggingFaceTarget target) {
  // Up to this length the model is as it was before the search.
  const std::int64_t reached_length = model.scaling.reached_length;
  const double ratio = static_cast<double>(target_length) / static_cast<double>(reached_length);
  OrderedJson rope = {
      {"rope_type", "longrope"},
      {"short_factor", model.scaling.beyond_original.lambda},
      {"long_factor", factors.lambda},
      {"factor", ratio},
      {"attention_factor", factors.attention.value},
      {"original_max_position_embeddings", reached_length},
  };
  const std::optional<double> partial_rotary_factor = take_rope_parameters(config);
  disable_sliding_window(config, model);
  config["max_position_embeddings"] = target_length;
  // In both places: version 4 reads it here, version 5 (which also reads rope_scaling) inside; here wins if they
  // differ.
  config["original_max_position_embeddings"] = reached_length;
  if (target == HuggingFaceTarget::k4) {
    const bool is_phi3 = model.architecture == "Phi3ForCausalLM";
    config["rope_theta"] = model.geometry.rope_theta;
    if (partial_rotary_factor) config["partial_rotary_factor"] = *partial_rotary_factor;
    config["rope_scaling"] = is_phi3 ? phi3_rope_scaling(factors, model, ratio) : std::move(rope);
  } else {
    rope["rope_theta"] = model.geometry.rope_theta;
    if (partial_rotary_factor) rope["partial_rotary_factor"] = *partial_rotary_factor;
    config["rope_parameters"] = std::move(rope);
  }
}

void link_or_copy(const fs::path& from, const fs::path& to) {
  // Entries of the Hugging Face cache are symbolic links; a hard link to such a link would dangle when the cache goes.
  const fs::path content = fs::canonical(from);
  std::error_code cannot_link;
  fs::create_hard_link(content, to, cannot_link);
  if (cannot_link) fs::copy_file(content, to);
}

void link_other_files(const fs::path& model_directory, const fs::path& out) {
  for (const fs::directory_entry& entry : fs::directory_iterator(model_directory)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name.starts_with('.') || name == kConfigFile || name == kFactorsFile) continue;
    link_or_copy(entry.path(), out / name);
  }
}

void write_canonical_factors(const fs::path& file, const ModelDescription& model, const RescaleFactors& factors,
                             std::int64_t target_length) {
  FactorsFile canonical;
  canonical.model = {.id = model.name,
                     .sha256 = model_digest(model.directory),
                     .head_dim = model.head_dim,
                     .geometry = model.geometry};
  FactorsFile::Entry entry;
  entry.id = fmt::format("longrope-{}", target_length);
  entry.target_length = target_length;
  entry.factors = factors;
  canonical.entries.push_back(std::move(entry));
  write_factors_json(canonical, file);
}

void require_expressible(const RescaleFactors& factors, const ModelDescription& model, std::int64_t target_length) {
  if (factors.n_hat > 0) {
    throw InputError(fmt::format(
        "n_hat must be 0, no engine can keep the original angles of leading positions: {}; search with n_hat = 0, or "
        "score these factors with n_hat = 0 before using them",
        factors.n_hat));
  }
  if (target_length <= model.scaling.reached_length) {
    throw InputError(fmt::format("target length must be above the {} tokens that the model reaches: {}",
                                 model.scaling.reached_length, target_length));
  }
}

}  // namespace

void export_hugging_face(const fs::path& model_directory, const RescaleFactors& factors, std::int64_t target_length,
                         const fs::path& out, HuggingFaceTarget target) {
  const ModelDescription model = describe_model(model_directory);
  require_expressible(factors, model, target_length);
  validate(factors, model.geometry.pairs(), "export");
  try {
    const fs::path destination = fs::absolute(out / "").lexically_normal().parent_path();  // without a trailing slash
    if (fs::exists(destination) && !(fs::is_directory(destination) && fs::is_empty(destination))) {
      throw InputError(fmt::format("export folder must not exist or be empty: {}", out.string()));
    }
    OrderedJson config = read_config(model_directory / kConfigFile);
    patch_config(config, factors, model, target_length, target);

    UnfinishedDirectory unfinished(destination);
    link_other_files(model_directory, unfinished.path());
    write_file_atomically(unfinished.path() / kConfigFile, config.dump(2) + "\n");
    write_canonical_factors(unfinished.path() / kFactorsFile, model, factors, target_length);
    unfinished.rename_to(destination);
  } catch (const fs::filesystem_error& failure) {
    throw Error(fmt::format("cannot write the export: {} ({})", failure.what(), out.string()));
  }
}

}  // namespace longrope
