#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace longrope {

struct PublishedFactors {
  std::string name;            // the authors' key, "ft_la2_128k", or the public model
  std::vector<double> lambda;  // [pairs]
};

/// The published arrays for `target_length` and a model like this one. A model is recognised by `yarn`, its YaRN
/// factors for that length: they depend on the number of pairs, the original length and, in steps of a few per cent,
/// the base. Published are the authors' 30 arrays (LLaMA2-7B and Mistral-7B; github.com/microsoft/LongRoPE, MIT) and
/// those in configurations of public models; configs/published names their sources. A checkpoint that carries scaling
/// has other YaRN factors and so no match. Thread-safe.
[[nodiscard]] std::vector<PublishedFactors> published_factors(std::int64_t target_length,
                                                              const std::vector<double>& yarn);

}  // namespace longrope
