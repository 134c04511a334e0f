#include "finetune/model_parameters.h"

#include "common/model/expected_tensors.h"
#include "finetune/tensor_file.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

ModelParameters parameters_from(const ModelDescription& model, const TensorSource& source) {
  const std::vector<std::int64_t> words = {model.vocabulary, model.hidden_size};
  ModelParameters parameters;
  parameters.embedding = source(kEmbeddingName, words);
  for (std::int64_t index = 0; index < model.layers; ++index) {
    parameters.layers.push_back(make_layer(source, model, index));
  }
  parameters.final_norm = source(kFinalNormName, {model.hidden_size});
  parameters.output_embedding = model.tied_embeddings ? parameters.embedding : source(kOutputEmbeddingName, words);
  for (const NamedTensor& trained : trained_tensors(parameters)) trained.tensor.requires_grad_();
  return parameters;
}

}  // namespace

ModelParameters load_parameters(const ModelDescription& model, at::Device device) {
  require_usable_weights(model);
  Checkpoint checkpoint(model.directory);
  ModelParameters parameters =
      parameters_from(model, [&](const std::string& name, const std::vector<std::int64_t>& shape) {
        return checkpoint.load(name, shape, at::kFloat, device);
      });
  require_no_tensor_left(checkpoint, model);
  return parameters;
}

ModelParameters random_parameters(const ModelDescription& model, double initializer_range, std::uint64_t seed,
                                  at::Device device) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return parameters_from(model, [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    const at::Tensor values = at::ones(shape);  // norms stay 1. On the CPU: a seed means the same on every device
    if (name.ends_with(".bias")) {
      values.zero_();
    } else if (shape.size() > 1) {
      values.normal_(0.0, initializer_range, generator);
    }
    return values.to(device);
  });
}

std::vector<NamedTensor> trained_tensors(const ModelParameters& parameters) {
  std::vector<NamedTensor> tensors = {{"embedding", parameters.embedding}};
  for (std::size_t index = 0; index < parameters.layers.size(); ++index) {
    const LayerWeights& layer = parameters.layers[index];
    const auto add = [&](std::string_view name, const at::Tensor& tensor) {
      if (tensor.defined()) tensors.push_back({fmt::format("layers.{}.{}", index, name), tensor});
    };
    const auto add_linear = [&](std::string_view name, const LinearWeights& weights) {
      add(fmt::format("{}.weight", name), weights.weight);
      add(fmt::format("{}.bias", name), weights.bias);
    };
    add("attention_norm", layer.attention_norm);
    add_linear("query_key_value", layer.query_key_value);
    add("query_norm", layer.query_norm);
    add("key_norm", layer.key_norm);
    add_linear("attention_output", layer.attention_output);
    add("feed_forward_norm", layer.feed_forward_norm);
    add_linear("gate_up", layer.gate_up);
    add_linear("down", layer.down);
  }
  tensors.push_back({"final_norm", parameters.final_norm});
  if (!parameters.output_embedding.is_same(parameters.embedding)) {
    tensors.push_back({"output_embedding", parameters.output_embedding});
  }
  return tensors;
}

std::vector<NamedTensor> checkpoint_tensors(const ModelParameters& parameters, const ModelDescription& model) {
  std::vector<NamedTensor> tensors = {{kEmbeddingName, parameters.embedding}, {kFinalNormName, parameters.final_norm}};
  if (!model.tied_embeddings) tensors.push_back({kOutputEmbeddingName, parameters.output_embedding});
  for (std::size_t index = 0; index < parameters.layers.size(); ++index) {
    std::vector<NamedTensor> layer =
        checkpoint_tensors(parameters.layers[index], model, static_cast<std::int64_t>(index));
    tensors.insert(tensors.end(), std::move_iterator(layer.begin()), std::move_iterator(layer.end()));
  }
  return tensors;
}

void write_weights(const ModelParameters& parameters, const ModelDescription& model,
                   const std::filesystem::path& folder) {
  const std::map<std::string, at::ScalarType> dtypes = {
      {"float32", at::kFloat}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}};
  write_tensors(folder / "model.safetensors", checkpoint_tensors(parameters, model), dtypes.at(model.weights_dtype),
                {{"format", "pt"}});
}

}  // namespace longrope
