#pragma once

#include "common/model/expected_tensors.h"
#include "common/model/model_description.h"
#include "worker/model/checkpoint.h"
#include "worker/model/placement.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace longrope {

/// A linear map as the checkpoint holds it, in the weights dtype.
struct LinearWeights {
  at::Tensor weight;  // [outputs, inputs]
  at::Tensor bias;    // [outputs], undefined without one
};

/// One layer as the checkpoint holds it, whether its projections lie in one tensor or in several. H = query heads,
/// K = key-value heads.
struct LayerWeights {
  at::Tensor attention_norm;       // [hidden]
  LinearWeights query_key_value;   // hidden to (H + 2K)·head_dim
  at::Tensor query_norm;           // [head_dim], undefined without one; so is key_norm
  at::Tensor key_norm;             // [head_dim]
  LinearWeights attention_output;  // H·head_dim to hidden
  at::Tensor feed_forward_norm;    // [hidden]
  LinearWeights gate_up;           // hidden to 2·intermediate, the gate first
  LinearWeights down;              // intermediate to hidden
};

/// Gives the tensor of a name, in the shape that it must have.
using TensorSource = std::function<at::Tensor(const std::string& name, const std::vector<std::int64_t>& shape)>;

/// Assembles a layer from the tensors that `source` gives under the names of a Hugging Face checkpoint.
[[nodiscard]] LayerWeights make_layer(const TensorSource& source, const ModelDescription& model, std::int64_t index);

/// Loads a layer from a checkpoint. Throws InputError when a tensor is missing or misshapen.
[[nodiscard]] LayerWeights load_layer(Checkpoint& checkpoint, const ModelDescription& model, std::int64_t index,
                                      const Placement& placement);

/// To be called when everything is loaded. Throws InputError naming a tensor that does not belong to the architecture.
void require_no_tensor_left(const Checkpoint& checkpoint, const ModelDescription& model);

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// The tensors of a layer under the names and in the shapes that load_layer() reads; views, not copies.
[[nodiscard]] std::vector<NamedTensor> checkpoint_tensors(const LayerWeights& layer, const ModelDescription& model,
                                                          std::int64_t index);

}  // namespace longrope
