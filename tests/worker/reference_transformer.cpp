#include "tests/worker/reference_transformer.h"

#include "common/files/safetensors_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <span>
#include <tuple>

namespace longrope {
namespace {

std::uint16_t bf16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);  // round to nearest even
}

float rounded_to_bf16(float value) { return std::bit_cast<float>(static_cast<std::uint32_t>(bf16_bits(value)) << 16U); }

/// FNV-1a: a seed that does not depend on the standard library.
std::uint32_t seed_of(const std::string& name) {
  std::uint32_t hash = 2166136261U;
  for (const char letter : name) hash = (hash ^ static_cast<std::uint8_t>(letter)) * 16777619U;
  return hash;
}

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

}  // namespace

ReferenceTransformer::ReferenceTransformer(const ReferenceShape& shape) : shape_(shape) {
  const auto add = [this](const std::string& name, std::vector<std::int64_t> sizes, double center, double spread) {
    ReferenceTensor tensor{std::move(sizes), {}};
    std::size_t count = 1;
    for (const std::int64_t size : tensor.shape) count *= index(size);
    std::mt19937 random(seed_of(name));
    for (std::size_t element = 0; element < count; ++element) {
      const auto value = static_cast<float>(center + spread * (static_cast<double>(random()) / 2147483648.0 - 1.0));
      tensor.values.push_back(shape_.representable_in_bf16 ? rounded_to_bf16(value) : value);
    }
    tensors.emplace(name, std::move(tensor));
  };
  const std::int64_t query = shape.query_heads * shape.head_dim;
  const std::int64_t key_value = shape.key_value_heads * shape.head_dim;
  // Spreads that give logits and attention scores of a few units, so that errors anywhere show in the NLL.
  add("model.embed_tokens.weight", {shape.vocabulary, shape.hidden_size}, 0.0, 0.6);
  add("model.norm.weight", {shape.hidden_size}, 1.0, 0.5);
  if (!shape.tied_embeddings) add("lm_head.weight", {shape.vocabulary, shape.hidden_size}, 0.0, 0.6);
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    add(prefix + "input_layernorm.weight", {shape.hidden_size}, 1.0, 0.5);
    add(prefix + "post_attention_layernorm.weight", {shape.hidden_size}, 1.0, 0.5);
    for (const auto& [name, size, present] : {std::tuple{"self_attn.q_proj", query, shape.query_key_value_bias},
                                              {"self_attn.k_proj", key_value, shape.query_key_value_bias},
                                              {"self_attn.v_proj", key_value, shape.query_key_value_bias},
                                              {"self_attn.o_proj", shape.hidden_size, shape.attention_output_bias},
                                              {"mlp.gate_proj", shape.intermediate_size, shape.feed_forward_bias},
                                              {"mlp.up_proj", shape.intermediate_size, shape.feed_forward_bias},
                                              {"mlp.down_proj", shape.hidden_size, shape.feed_forward_bias}}) {
      if (present) add(prefix + name + ".bias", {size}, 0.0, 0.8);
    }
    if (shape.query_key_norm) {
      add(prefix + "self_attn.q_norm.weight", {shape.head_dim}, 1.0, 0.5);
      add(prefix + "self_attn.k_norm.weight", {shape.head_dim}, 1.0, 0.5);
    }
    add(prefix + "self_attn.q_proj.weight", {query, shape.hidden_size}, 0.0, 0.35);
    add(prefix + "self_attn.k_proj.weight", {key_value, shape.hidden_size}, 0.0, 0.35);
    add(prefix + "self_attn.v_proj.weight", {key_value, shape.hidden_size}, 0.0, 0.35);
    add(prefix + "self_attn.o_proj.weight", {shape.hidden_size, query}, 0.0, 0.2);
    add(prefix + "mlp.gate_proj.weight", {shape.intermediate_size, shape.hidden_size}, 0.0, 0.3);
    add(prefix + "mlp.up_proj.weight", {shape.intermediate_size, shape.hidden_size}, 0.0, 0.3);
    add(prefix + "mlp.down_proj.weight", {shape.hidden_size, shape.intermediate_size}, 0.0, 0.2);
  }
}

void ReferenceTransformer::round_weights_to_bf16() {
  for (auto& [name, tensor] : tensors) {
    for (float& value : tensor.values) value = rounded_to_bf16(value);
  }
}

void ReferenceTransformer::write(const std::filesystem::path& directory) const {
  const nlohmann::json window = shape_.sliding_window > 0 ? nlohmann::json(shape_.sliding_window) : nlohmann::json();
  const nlohmann::json config = {{"architectures", {shape_.architecture}},
                                 {"attention_bias", shape_.attention_output_bias},
                                 {"max_window_layers", shape_.first_windowed_layer},
                                 {"mlp_bias", shape_.feed_forward_bias},
                                 {"partial_rotary_factor", shape_.partial_rotary_factor},
                                 {"sliding_window", window},
                                 {"use_sliding_window", shape_.sliding_window > 0},
                                 {"head_dim", shape_.head_dim},
                                 {"hidden_size", shape_.hidden_size},
                                 {"intermediate_size", shape_.intermediate_size},
                                 {"max_position_embeddings", 512},
                                 {"num_attention_heads", shape_.query_heads},
                                 {"num_hidden_layers", shape_.layers},
                                 {"num_key_value_heads", shape_.key_value_heads},
                                 {"rms_norm_eps", shape_.rms_norm_epsilon},
                                 {"rope_theta", shape_.rope_theta},
                                 {"tie_word_embeddings", shape_.tied_embeddings || shape_.says_tied},
                                 {"vocab_size", shape_.vocabulary}};
  std::ofstream(directory / "config.json") << config.dump();

  std::map<std::string, std::vector<std::uint16_t>> halves;
  std::vector<std::map<std::string, TensorToWrite>> shards(index(shape_.shards));
  nlohmann::json weight_map = nlohmann::json::object();
  std::size_t position = 0;
  const std::map<std::string, ReferenceTensor> stored = stored_tensors();
  for (const auto& [name, tensor] : stored) {
    std::span<const std::byte> bytes = std::as_bytes(std::span(tensor.values));
    if (shape_.dtype == "BF16") {
      for (const float value : tensor.values) halves[name].push_back(bf16_bits(value));
      bytes = std::as_bytes(std::span(halves[name]));
    }
    const std::size_t shard = position++ % shards.size();
    shards[shard][name] = {.dtype = std::string(shape_.dtype), .shape = tensor.shape, .bytes = bytes};
    weight_map[name] = fmt::format("model-{}.safetensors", shard);
  }
  if (shards.size() == 1) {
    write_safetensors(directory / "model.safetensors", shards.front(), {});
    return;
  }
  for (std::size_t shard = 0; shard < shards.size(); ++shard) {
    write_safetensors(directory / fmt::format("model-{}.safetensors", shard), shards[shard], {});
  }
  std::ofstream(directory / "model.safetensors.index.json") << nlohmann::json{{"weight_map", weight_map}}.dump();
}

std::map<std::string, ReferenceTensor> ReferenceTransformer::stored_tensors() const {
  std::map<std::string, ReferenceTensor> stored = tensors;
  if (!shape_.fused_projections) return stored;
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    const auto fuse = [&](const char* fused, const std::vector<const char*>& parts) {
      const auto name = [&](const char* part) { return fmt::format("model.layers.{}.{}.weight", layer, part); };
      ReferenceTensor& whole = stored[name(fused)];
      whole.shape = {0, shape_.hidden_size};
      for (const char* const part : parts) {
        const ReferenceTensor& tensor = tensors.at(name(part));
        whole.shape[0] += tensor.shape[0];
        whole.values.insert(whole.values.end(), tensor.values.begin(), tensor.values.end());
        stored.erase(name(part));
      }
    };
    fuse("self_attn.qkv_proj", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    fuse("mlp.gate_up_proj", {"mlp.gate_proj", "mlp.up_proj"});
  }
  return stored;
}

ReferenceTransformer::Rows ReferenceTransformer::times(const Rows& rows, const std::string& weight) const {
  const ReferenceTensor& matrix = tensors.at(weight);  // [out, in]
  const std::size_t width = index(matrix.shape[1]);
  Rows result(rows.size(), std::vector<double>(index(matrix.shape[0])));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t out = 0; out < result[row].size(); ++out) {
      for (std::size_t in = 0; in < width; ++in) {
        result[row][out] += rows[row][in] * static_cast<double>(matrix.values[out * width + in]);
      }
    }
  }
  const auto bias = tensors.find(weight.substr(0, weight.rfind('.')) + ".bias");
  if (bias == tensors.end()) return result;
  for (std::vector<double>& row : result) {
    for (std::size_t out = 0; out < row.size(); ++out) row[out] += static_cast<double>(bias->second.values[out]);
  }
  return result;
}

ReferenceTransformer::Rows ReferenceTransformer::normed(const Rows& rows, const std::string& weight) const {
  const std::vector<float>& scale = tensors.at(weight).values;
  Rows result = rows;
  for (std::vector<double>& row : result) {
    for (std::size_t begin = 0; begin < row.size(); begin += scale.size()) {
      double squares = 0.0;
      for (std::size_t channel = 0; channel < scale.size(); ++channel) {
        squares += row[begin + channel] * row[begin + channel];
      }
      const double divisor = std::sqrt(squares / static_cast<double>(scale.size()) + shape_.rms_norm_epsilon);
      for (std::size_t channel = 0; channel < scale.size(); ++channel) {
        row[begin + channel] = row[begin + channel] / divisor * static_cast<double>(scale[channel]);
      }
    }
  }
  return result;
}

void ReferenceTransformer::rotate(Rows& rows, std::int64_t heads, const RescaleFactors& factors) const {
  const auto pairs = static_cast<std::size_t>(static_cast<double>(shape_.head_dim) * shape_.partial_rotary_factor) / 2;
  const std::size_t width = index(shape_.head_dim);
  for (std::size_t position = 0; position < rows.size(); ++position) {
    const bool original = static_cast<std::int64_t>(position) < factors.n_hat;
    const double magnitude = original ? 1.0 : factors.attention.value;
    for (std::size_t head = 0; head < index(heads); ++head) {
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        const double frequency = std::pow(shape_.rope_theta, -static_cast<double>(pair) / static_cast<double>(pairs));
        const double angle = static_cast<double>(position) * frequency / (original ? 1.0 : factors.lambda[pair]);
        double& first = rows[position][head * width + pair];
        double& second = rows[position][head * width + pairs + pair];
        const double rotated_first = magnitude * (first * std::cos(angle) - second * std::sin(angle));
        second = magnitude * (second * std::cos(angle) + first * std::sin(angle));
        first = rotated_first;
      }
    }
  }
}

ReferenceTransformer::Rows ReferenceTransformer::attention(const Rows& query, const Rows& key, const Rows& value,
                                                           std::int64_t window) const {
  const std::size_t width = index(shape_.head_dim);
  const std::int64_t group = shape_.query_heads / shape_.key_value_heads;
  Rows result(query.size(), std::vector<double>(query.front().size()));
  for (std::int64_t head = 0; head < shape_.query_heads; ++head) {
    const std::size_t mine = index(head) * width;
    const std::size_t shared = index(head / group) * width;
    for (std::size_t row = 0; row < query.size(); ++row) {
      std::vector<double> weights(row + 1);
      double largest = -INFINITY;
      const std::size_t first = window > 0 && row + 1 > index(window) ? row + 1 - index(window) : 0;
      for (std::size_t column = first; column <= row; ++column) {
        for (std::size_t channel = 0; channel < width; ++channel) {
          weights[column] += query[row][mine + channel] * key[column][shared + channel];
        }
        weights[column] /= std::sqrt(static_cast<double>(width));
        largest = std::max(largest, weights[column]);
      }
      double total = 0.0;
      for (std::size_t column = first; column <= row; ++column) {
        total += weights[column] = std::exp(weights[column] - largest);
      }
      for (std::size_t column = first; column <= row; ++column) {
        for (std::size_t channel = 0; channel < width; ++channel) {
          result[row][mine + channel] += weights[column] / total * value[column][shared + channel];
        }
      }
    }
  }
  return result;
}

void ReferenceTransformer::add_layer(Rows& residual, std::int64_t layer, const RescaleFactors& factors) const {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const auto add = [&residual](const Rows& rows) {
    for (std::size_t row = 0; row < rows.size(); ++row) {
      for (std::size_t channel = 0; channel < rows[row].size(); ++channel) residual[row][channel] += rows[row][channel];
    }
  };
  const Rows before_attention = normed(residual, prefix + "input_layernorm.weight");
  Rows query = times(before_attention, prefix + "self_attn.q_proj.weight");
  Rows key = times(before_attention, prefix + "self_attn.k_proj.weight");
  if (shape_.query_key_norm) {
    query = normed(query, prefix + "self_attn.q_norm.weight");
    key = normed(key, prefix + "self_attn.k_norm.weight");
  }
  rotate(query, shape_.query_heads, factors);
  rotate(key, shape_.key_value_heads, factors);
  const Rows value = times(before_attention, prefix + "self_attn.v_proj.weight");
  const std::int64_t window = layer >= shape_.first_windowed_layer ? shape_.sliding_window : 0;
  add(times(attention(query, key, value, window), prefix + "self_attn.o_proj.weight"));

  const Rows before_mlp = normed(residual, prefix + "post_attention_layernorm.weight");
  Rows gate = times(before_mlp, prefix + "mlp.gate_proj.weight");
  const Rows up = times(before_mlp, prefix + "mlp.up_proj.weight");
  for (std::size_t row = 0; row < gate.size(); ++row) {
    for (std::size_t channel = 0; channel < gate[row].size(); ++channel) {
      gate[row][channel] *= up[row][channel] / (1.0 + std::exp(-gate[row][channel]));
    }
  }
  add(times(gate, prefix + "mlp.down_proj.weight"));
}

std::vector<std::vector<double>> ReferenceTransformer::logits(const RescaleFactors& factors,
                                                              const std::vector<std::int32_t>& tokens,
                                                              std::int64_t length) const {
  const ReferenceTensor& embedding = tensors.at("model.embed_tokens.weight");
  Rows residual;
  for (std::int64_t position = 0; position < length; ++position) {
    const auto row = embedding.values.begin() + tokens[index(position)] * shape_.hidden_size;
    residual.emplace_back(row, row + shape_.hidden_size);
  }
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    add_layer(residual, layer, factors);
  }
  return times(normed(residual, "model.norm.weight"),
               shape_.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
}

std::vector<double> ReferenceTransformer::token_nll(const RescaleFactors& factors,
                                                    const std::vector<std::int32_t>& tokens,
                                                    std::int64_t length) const {
  const Rows rows = logits(factors, tokens, length);
  std::vector<double> nll(rows.size());
  for (std::size_t position = 1; position < rows.size(); ++position) {
    double total = 0.0;
    for (const double logit : rows[position - 1]) total += std::exp(logit);  // logits of a few tens at most
    nll[position] = std::log(total) - rows[position - 1][index(tokens[position])];
  }
  return nll;
}

Document random_document(std::int64_t length, std::int64_t vocabulary, std::uint32_t seed) {
  Document document{.name = "random", .tokens = {}, .scored = {}};
  std::mt19937 random(seed);
  for (std::int64_t position = 0; position < length; ++position) {
    document.tokens.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(vocabulary)));
  }
  return document;
}

RescaleFactors rising_factors(std::size_t pairs, double largest, std::int64_t n_hat, double attention) {
  std::vector<double> lambda(pairs);
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    lambda[pair] = 1.0 + (largest - 1.0) * static_cast<double>(pair) / static_cast<double>(pairs - 1);
  }
  return exact_factors(std::move(lambda), n_hat, {.policy = AttentionPolicy::kValue, .value = attention});
}

std::filesystem::path fresh_directory() {
  const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = fmt::format("{}.{}", test->test_suite_name(), test->name());
  std::ranges::replace(name, '/', '_');  // parametrised tests have slashes in their names
  std::filesystem::path directory = std::filesystem::path(::testing::TempDir()) / name;
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  return directory;
}

}  // namespace longrope
