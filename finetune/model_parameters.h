#pragma once

#include "common/model/model_description.h"
#include "worker/model/layer_weights.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

/// The weights of a model as they are trained: float32 leaves that require gradients. Copies share the tensors.
struct ModelParameters {
  at::Tensor embedding;  // [vocabulary, hidden]
  std::vector<LayerWeights> layers;
  at::Tensor final_norm;        // [hidden]
  at::Tensor output_embedding;  // [vocabulary, hidden]; the same tensor as `embedding` when tied
};

/// Reads a checkpoint. Throws InputError when a tensor is missing, misshapen or left over.
[[nodiscard]] ModelParameters load_parameters(const ModelDescription& model, at::Device device);

/// Weights to train from the beginning, as transformers makes them: matrices normal with deviation `initializer_range`,
/// biases 0, norms 1. The same for the same seed.
[[nodiscard]] ModelParameters random_parameters(const ModelDescription& model, double initializer_range,
                                                std::uint64_t seed, at::Device device);

/// Each tensor that is trained once, in a fixed order, under a name of this program: "layers.0.gate_up.weight".
[[nodiscard]] std::vector<NamedTensor> trained_tensors(const ModelParameters& parameters);

/// The same weights under the names and in the shapes of a Hugging Face checkpoint; views, not copies.
[[nodiscard]] std::vector<NamedTensor> checkpoint_tensors(const ModelParameters& parameters,
                                                          const ModelDescription& model);

/// Writes them to model.safetensors in `folder`, rounded to the dtype that config.json names.
void write_weights(const ModelParameters& parameters, const ModelDescription& model,
                   const std::filesystem::path& folder);

}  // namespace longrope
