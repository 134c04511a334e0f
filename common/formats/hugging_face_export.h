#pragma once

#include "common/formats/engine_tables.h"
#include "common/model/model_description.h"
#include "common/rope/rescale_factors.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

namespace longrope {

/// Major version of `transformers` that config.json is written for: the place of the rotary parameters differs.
/// k4: rope_scaling, with rope_theta at top level (4.43 and later; also vLLM). k5: rope_parameters, which holds it too.
enum class HuggingFaceTarget { k4, k5 };
/// "hf4" or "hf5", as options and configurations call them.
[[nodiscard]] HuggingFaceTarget parse_hugging_face_target(std::string_view name);

/// Writes the directory `out`: the model with rope_type "longrope".
/// - long_factor is the long table and short_factor the short one. Engines change from one to the other at
///   original_max_position_embeddings, the short table's length.
/// - Without a short table that is the length that the model reaches without the factors, and short_factor is what the
///   model has already: all ones, or the factors of its rope scaling for documents beyond its original length.
/// - max_position_embeddings is the target length. factor (target length over original_max_position_embeddings) and
///   attention_factor (one for both tables) are explicit.
/// - The format has two tables only, so a longrope model loses its own: without a short table its documents up to the
///   original length get its long_factor.
/// - Where tables.plain is set, its block (plain_block.h) takes the place of both tables, at every length.
/// - For vLLM and SGLang (tables.engine) short_mscale and long_mscale stand beside attention_factor: they read those.
/// - Sliding windows are switched off, as in scoring.
/// - `longrope_factors.json` beside config.json is the canonical factors file, with the model's digest, and with a
///   schedule if there are two tables.
///
/// All other regular files of the model's directory are hard links, or copies where the file system cannot link, never
/// symbolic links: `out` outlives the model's directory. Linked files share their content, so do not edit them in
/// place. Hidden files and subdirectories are left out.
///
/// The model is built in a folder beside `out` and renamed: `out` is never half a model. Throws InputError for what
/// require_expressible() and require_one_attention_factor() refuse (engine_tables.h), for an attention factor other
/// than su with Phi-3 and k4 (which computes it itself, from the two lengths above), and when `out` exists and is not
/// empty; Error when writing fails.
void export_hugging_face(const ModelDescription& model, const EngineTables& tables, const std::filesystem::path& out,
                         HuggingFaceTarget target);
/// The same without a short table.
void export_hugging_face(const ModelDescription& model, const RescaleFactors& factors, std::int64_t target_length,
                         const std::filesystem::path& out, HuggingFaceTarget target);

/// The keys of config.json that such a directory adds or changes, in the form of `target`: what engines take as
/// overrides of the untouched model's config.json. Where that has rope_scaling, which transformers 5 would prefer,
/// rope_scaling comes first and is null. attention_factor is the long table's. Throws InputError for what
/// require_expressible() refuses.
[[nodiscard]] nlohmann::ordered_json config_overrides(const ModelDescription& model, const EngineTables& tables,
                                                      HuggingFaceTarget target);

/// A checkpoint whose new weights were trained from those of `model_directory`.
struct FineTunedModel {
  std::filesystem::path model_directory;
  std::optional<RescaleFactors> factors;  // what it was trained with; nullopt: config.json stays as it is
  bool mixed_windows = false;             // up to the original length it was trained with the angles it had before
  std::int64_t target_length = 0;         // tokens that `factors` are for
  HuggingFaceTarget target = HuggingFaceTarget::k5;
  std::optional<std::int64_t> reached_length;  // of `model_directory`, where the user says it (describe_model())
};

/// Writes such a model as export_hugging_face() does, with these differences, so that documents of every length get the
/// factors that were trained (spec §10):
/// - short_factor is λ too, or with mixed windows what the model had.
/// - original_max_position_embeddings stays the model's original length.
/// - `target_length` is at least what the model reaches.
/// - No file of weights is linked. `write_files` puts model.safetensors, and what else belongs there, into the folder
///   it is given.
void export_fine_tuned(const FineTunedModel& model,
                       const std::function<void(const std::filesystem::path&)>& write_files,
                       const std::filesystem::path& out);

/// Throws the InputError that export_fine_tuned() would throw for the model, so that it can be asked before training.
void require_exportable(const FineTunedModel& model);

}  // namespace longrope
