#include "finetune/model_parameters.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include "common/safetensors_file.h"
#include "finetune/tensor_bytes.h"

namespace longrope {
namespace {

void require_gradients(const ModelParameters& parameters) {
  for (const NamedTensor& trained : trained_tensors(parameters)) trained.tensor.requires_grad_();
}

}  // namespace

ModelParameters load_parameters(const ModelDescription& model, at::Device device) {
  Checkpoint checkpoint(model.directory);
  const Placement masters{.device = device, .weights = at::kFloat, .arithmetic = at::kFloat};
  const auto load = [&](const char* name, const std::vector<std::int64_t>& shape) {
    return checkpoint.load(name, shape, masters.weights, masters.device);
  };
  ModelParameters parameters;
  parameters.embedding = load(kEmbeddingName, {model.vocabulary, model.hidden_size});
  for (std::int64_t index = 0; index < model.layers; ++index) {
    parameters.layers.push_back(load_layer(checkpoint, model, index, masters));
  }
  parameters.final_norm = load(kFinalNormName, {model.hidden_size});
  parameters.output_embedding =
      model.tied_embeddings ? parameters.embedding : load(kOutputEmbeddingName, {model.vocabulary, model.hidden_size});
  require_no_tensor_left(checkpoint, model);
  require_gradients(parameters);
  return parameters;
}

ModelParameters random_parameters(const ModelDescription& model, double initializer_range, std::uint64_t seed,
                                  at::Device device) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto matrix = [&](std::int64_t outputs, std::int64_t inputs) {
    // On the CPU, so that a seed means the same on every device.
    return at::empty({outputs, inputs}).normal_(0.0, initializer_range, generator).to(device);
  };
  const auto ones = [&](std::int64_t size) { return at::ones({size}, at::TensorOptions().device(device)); };
  const auto linear = [&](std::int64_t outputs, std::int64_t inputs, bool has_bias) {
    return LinearWeights{.weight = matrix(outputs, inputs),
                         .bias = has_bias ? at::zeros({outputs}, at::TensorOptions().device(device)) : at::Tensor()};
  };
  const auto head_norm = [&] { return model.query_key_norm ? ones(model.head_dim) : at::Tensor(); };
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t heads = model.query_heads + 2 * model.key_value_heads;
  ModelParameters parameters;
  parameters.embedding = matrix(model.vocabulary, hidden);
  for (std::int64_t index = 0; index < model.layers; ++index) {
    parameters.layers.push_back(
        {.attention_norm = ones(hidden),
         .query_key_value = linear(heads * model.head_dim, hidden, model.query_key_value_bias),
         .query_norm = head_norm(),
         .key_norm = head_norm(),
         .attention_output = linear(hidden, model.query_heads * model.head_dim, model.attention_output_bias),
         .feed_forward_norm = ones(hidden),
         .gate_up = linear(2 * model.intermediate_size, hidden, model.feed_forward_bias),
         .down = linear(hidden, model.intermediate_size, model.feed_forward_bias)});
  }
  parameters.final_norm = ones(hidden);
  parameters.output_embedding = model.tied_embeddings ? parameters.embedding : matrix(model.vocabulary, hidden);
  require_gradients(parameters);
  return parameters;
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
  struct Stored {
    at::ScalarType type;
    const char* name;  // in safetensors
  };
  const std::map<std::string, Stored> dtypes = {
      {"float32", {at::kFloat, "F32"}}, {"float16", {at::kHalf, "F16"}}, {"bfloat16", {at::kBFloat16, "BF16"}}};
  const Stored stored = dtypes.at(model.weights_dtype);
  std::vector<at::Tensor> rounded;  // hold what the views below refer to
  std::map<std::string, TensorToWrite> to_write;
  for (const NamedTensor& named : checkpoint_tensors(parameters, model)) {
    rounded.push_back(named.tensor.detach().to(at::kCPU, stored.type).contiguous());
    to_write[named.name] = {
        .dtype = stored.name, .shape = named.tensor.sizes().vec(), .bytes = bytes_of(rounded.back())};
  }
  write_safetensors(folder / "model.safetensors", to_write, {{"format", "pt"}});
}

}  // namespace longrope
