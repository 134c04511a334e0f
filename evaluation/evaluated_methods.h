#pragma once

#include "common/model/model_description.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

/// A way to reach long contexts that `longrope evaluate` measures.
struct EvaluatedMethod {
  std::string name;            // "base", "pi", "ntk", "yarn", "dynamic_ntk", or the stem of `file`
  std::filesystem::path file;  // with its factors; empty: a closed form
};

/// The methods of a report: the five closed forms in the order above, then `factor_files` in their own. Throws
/// InputError when two methods would have one name.
[[nodiscard]] std::vector<EvaluatedMethod> evaluated_methods(const std::vector<std::string>& factor_files);

/// The factors of `method` where the model sees at most `context` tokens. Closed forms extend the model from the length
/// that it reaches (named_factors); up to that length they are the model as it is. dynamic_ntk is Hugging Face's rule
/// with factor `longest_context` / reached length, so that its base rises with the context up to the longest. λ of a
/// file replaces that of the model, at every length. Throws InputError for a file that does not fit the model, or has
/// several entries and none for `context`.
[[nodiscard]] RescaleFactors factors_of(const EvaluatedMethod& method, const ModelDescription& model,
                                        std::int64_t longest_context, std::int64_t context);

}  // namespace longrope
