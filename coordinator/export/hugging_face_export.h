#pragma once

#include <cstdint>
#include <filesystem>

#include "common/rescale_factors.h"

namespace longrope {

/// Major version of `transformers` that config.json is written for: the place of the rotary parameters differs.
/// k4: rope_scaling, with rope_theta at top level (4.43 and later; also vLLM). k5: rope_parameters, which holds it too.
enum class HuggingFaceTarget { k4, k5 };

/// Writes the directory `out`: the model with rope_type "longrope". long_factor is λ, short_factor is all ones (up to
/// `original_length` the model is as it was trained), factor and attention_factor are explicit and
/// max_position_embeddings is `target_length`. Sliding windows are switched off, as in scoring. `longrope_factors.json`
/// beside config.json is the canonical factors file, with the model's digest.
///
/// All other regular files of `model_directory` are hard links, or copies where the file system cannot link, never
/// symbolic links: `out` outlives the model's directory. Linked files share their content, so do not edit them in
/// place. Hidden files and subdirectories are left out.
///
/// Built in a folder beside `out` and renamed: never half a model. Throws InputError: n_hat > 0 (no engine can express
/// it), factors that do not fit the model, target_length not above original_length, a model that carries rope scaling
/// already, an attention factor other than su for Phi-3 and k4 (which computes it itself), `out` exists and is not
/// empty; Error when writing fails.
void export_hugging_face(const std::filesystem::path& model_directory, const RescaleFactors& factors,
                         std::int64_t original_length, std::int64_t target_length, const std::filesystem::path& out,
                         HuggingFaceTarget target);

}  // namespace longrope
