#pragma once

#include "common/model/model_description.h"
#include "worker/model/layer_weights.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

/// The trained weights of a model: float32 leaves that require gradients. Copies share the tensors.
struct ModelParameters {
  at::Tensor embedding;  // [vocabulary, hidden]
  std::vector<LayerWeights> layers;
  at::Tensor final_norm;        // [hidden]
  at::Tensor output_embedding;  // [vocabulary, hidden]; the same tensor as `embedding` when tied
};

/// Reads a checkpoint. Throws InputError when a tensor is missing, misshapen or left over.
[[nodiscard]] ModelParameters load_parameters(const ModelDescription& model, at::Device device);

/// Random weights, as transformers initializes them: matrices normal with standard deviation `initializer_range`,
/// biases 0, norms 1. A seed gives the same weights on every device.
[[nodiscard]] ModelParameters random_parameters(const ModelDescription& model, double initializer_range,
                                                std::uint64_t seed, at::Device device);

/// Every trained tensor once, in a fixed order, named as in this program: "layers.0.gate_up.weight".
[[nodiscard]] std::vector<NamedTensor> trained_tensors(const ModelParameters& parameters);

/// The same weights under the names and in the shapes of a Hugging Face checkpoint; views, not copies.
[[nodiscard]] std::vector<NamedTensor> checkpoint_tensors(const ModelParameters& parameters,
                                                          const ModelDescription& model);

/// Writes checkpoint_tensors() to model.safetensors in `folder`, rounded to the dtype that config.json names.
void write_weights(const ModelParameters& parameters, const ModelDescription& model,
                   const std::filesystem::path& folder);

}  // namespace longrope
