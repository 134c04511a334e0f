#include "pipeline/hand_off.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "common/files/write_file.h"
#include "common/files/write_folder.h"
#include "common/formats/factors_file.h"
#include "common/formats/hugging_face_export.h"
#include "common/model/expected_tensors.h"
#include "common/model/model_description.h"
#include "common/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

namespace longrope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelFolder = "model";
constexpr const char* kTokenizerFile = "tokenizer.json";

void link_weights(const fs::path& model, const fs::path& folder) {
  std::vector<fs::path> files = weight_files(model);
  if (const fs::path index = model / "model.safetensors.index.json"; fs::exists(index)) files.push_back(index);
  for (const fs::path& file : files) link_or_copy(file, folder / file.filename());
}

nlohmann::ordered_json manifest(const HandOff& hand_off, const fs::path& folder, Checkpoints& checkpoints) {
  return {{"schema", "longrope-hand-off/1"},
          {"stage", hand_off.stage},
          {"model", {{"folder", kModelFolder}, {"sha256", checkpoints.digest(folder / kModelFolder)}}},
          {"factors", {{"json", "factors.json"}, {"csv", "factors.csv"}, {"digest", digest(hand_off.factors)}}},
          {"documents", hand_off.documents.empty() ? nlohmann::ordered_json()
                                                   : nlohmann::ordered_json(fs::absolute(hand_off.documents).string())},
          {"transformers", hand_off.settings.target == HuggingFaceTarget::k4 ? 4 : 5},
          {"target_length", hand_off.target_length},
          {"sample_length", hand_off.length},
          {"settings", given_settings(hand_off.settings)},
          {"when_done", hand_off.completion}};
}

void write_factor_files(const HandOff& hand_off, const fs::path& folder, Checkpoints& checkpoints) {
  FactorsFile file;
  file.model = factors_model(checkpoints.description(hand_off.model), hand_off.model_digest);
  FactorsFile::Entry entry;
  entry.id = hand_off.stage;
  entry.target_length = hand_off.target_length;
  entry.factors = hand_off.factors;
  file.entries.push_back(std::move(entry));
  write_factors_json(file, folder / "factors.json");
  write_factors_csv(hand_off.factors, folder / "factors.csv");
}

/// Shapes of all tensors, by name. Without dtypes, because trainers may save in another one, and without a tied
/// lm_head, which some trainers save.
std::map<std::string, std::string> shapes(const fs::path& model, bool tied_embeddings) {
  std::map<std::string, std::string> shapes;
  for (const fs::path& file : weight_files(model)) {
    const SafetensorsFile weights(file);
    for (const auto& [name, tensor] : weights.tensors()) {
      shapes[name] = fmt::format("[{}]", fmt::join(tensor.shape, ", "));
    }
  }
  if (tied_embeddings) shapes.erase("lm_head.weight");
  return shapes;
}

void require_same_tensors(const ModelDescription& handed, const ModelDescription& trained) {
  const fs::path& checkpoint = trained.directory;
  const std::map<std::string, std::string> wanted = shapes(handed.directory, handed.tied_embeddings);
  const std::map<std::string, std::string> found = shapes(checkpoint, handed.tied_embeddings);
  for (const auto& [name, shape] : wanted) {
    const auto tensor = found.find(name);
    if (tensor == found.end()) {
      throw InputError(fmt::format("a checkpoint must have the tensors of the model handed off: no {} ({})", name,
                                   checkpoint.string()));
    }
    if (tensor->second != shape) {
      throw InputError(fmt::format("a tensor must keep its shape, {}: {} is {} ({})", shape, name, tensor->second,
                                   checkpoint.string()));
    }
  }
  for (const auto& [name, shape] : found) {
    if (wanted.contains(name)) continue;
    throw InputError(
        fmt::format("a checkpoint must have no other tensors than the model handed off: {} (merge "
                    "adapters first; {})",
                    name, checkpoint.string()));
  }
}

/// Numbers that no shape shows: with others the same weights are another model.
void require_same_numbers(const ModelDescription& handed, const ModelDescription& trained) {
  const auto same = [&](const char* name, auto wanted, auto found) {
    if (found == wanted) return;
    throw InputError(fmt::format("{} must be that of the model handed off, {}: {} ({})", name, wanted, found,
                                 trained.directory.string()));
  };
  same("architecture", handed.architecture, trained.architecture);
  same("original_max_position_embeddings", handed.geometry.original_length, trained.geometry.original_length);
  same("max_position_embeddings", handed.scaling.reached_length, trained.scaling.reached_length);
  same("rope_theta", handed.geometry.rope_theta, trained.geometry.rope_theta);
  same("num_attention_heads", handed.query_heads, trained.query_heads);
  same("num_key_value_heads", handed.key_value_heads, trained.key_value_heads);
  same("head_dim", handed.head_dim, trained.head_dim);
  same("rms_norm_eps", handed.rms_norm_epsilon, trained.rms_norm_epsilon);
}

void require_same_factors(const ModelDescription& handed, const ModelDescription& trained) {
  const std::string place = trained.directory.string();
  constexpr double kTolerance = 1e-6;  // relative; some trainers write seven digits
  const auto differs = [](double wanted, double found) { return std::abs(found - wanted) > kTolerance * wanted; };
  for (const auto member : {&RopeScaling::up_to_original, &RopeScaling::beyond_original}) {
    const RescaleFactors& wanted = handed.scaling.*member;
    const RescaleFactors& found = trained.scaling.*member;
    for (std::size_t pair = 0; pair < wanted.lambda.size(); ++pair) {
      if (found.lambda.size() == wanted.lambda.size() && !differs(wanted.lambda[pair], found.lambda[pair])) continue;
      throw InputError(
          fmt::format("a checkpoint must have been trained with the factors handed off: factor {} of its "
                      "config.json differs ({})",
                      pair, place));
    }
    if (differs(wanted.attention.value, found.attention.value)) {
      throw InputError(fmt::format("attention_factor must be the one handed off, {}: {} ({})", wanted.attention.value,
                                   found.attention.value, place));
    }
  }
}

void require_same_tokenizer(const fs::path& handed, const fs::path& checkpoint) {
  const fs::path wanted = handed / kTokenizerFile;
  const fs::path found = checkpoint / kTokenizerFile;
  if (!fs::exists(wanted) || (fs::exists(found) && sha256_of_file(found) == sha256_of_file(wanted))) return;
  throw InputError(fmt::format("{} must be the one handed off, which documents are known by: {} (copy {} there)",
                               kTokenizerFile, fs::exists(found) ? "another" : "none", wanted.string()));
}

}  // namespace

void write_hand_off(const HandOff& hand_off, const fs::path& out, Checkpoints& checkpoints) {
  if (fs::exists(out / "manifest.json")) return;
  write_folder_atomically(out, [&](const fs::path& folder) {
    const FineTunedModel model{.model_directory = hand_off.model,
                               .factors = hand_off.factors,
                               .mixed_windows = false,
                               .target_length = hand_off.target_length,
                               .target = hand_off.settings.target,
                               .reached_length = checkpoints.reached_length(hand_off.model)};
    export_fine_tuned(
        model, [&](const fs::path& weights) { link_weights(hand_off.model, weights); }, folder / kModelFolder);
    write_factor_files(hand_off, folder, checkpoints);
    write_file_atomically(folder / "manifest.json", manifest(hand_off, folder, checkpoints).dump(2) + "\n");
  });
}

void require_trained_from(const fs::path& folder, const fs::path& checkpoint, Checkpoints& checkpoints) {
  const fs::path handed = folder / kModelFolder;
  const ModelDescription& wanted = checkpoints.description(handed);
  const ModelDescription& found = checkpoints.description(checkpoint);
  require_same_tokenizer(handed, checkpoint);
  require_same_factors(wanted, found);
  require_same_numbers(wanted, found);
  require_same_tensors(wanted, found);
  require_usable_weights(found);
  const auto weights = [&](const fs::path& model) {
    std::vector<std::string> digests;
    for (const fs::path& file : weight_files(model)) digests.push_back(checkpoints.file_digest(file));
    return digests;
  };
  if (weights(handed) == weights(checkpoint)) {
    throw InputError("a checkpoint must have new weights: they are those handed off (" + checkpoint.string() + ")");
  }
}

}  // namespace longrope
