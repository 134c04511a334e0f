#pragma once

#include "common/documents/documents.h"
#include "common/rope/rescale_factors.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// Shape of a small random model. The booleans are what families differ in.
struct ReferenceShape {
  std::int64_t vocabulary = 61;
  std::int64_t hidden_size = 48;
  std::int64_t intermediate_size = 80;
  std::int64_t layers = 2;
  std::int64_t query_heads = 4;
  std::int64_t key_value_heads = 2;
  std::int64_t head_dim = 64;
  double rms_norm_epsilon = 1e-5;
  double rope_theta = 10000.0;
  bool tied_embeddings = false;
  bool says_tied = false;  // config.json ties the embeddings although there is an lm_head of its own
  std::string_view architecture = "LlamaForCausalLM";
  bool query_key_value_bias = false;
  bool attention_output_bias = false;
  bool feed_forward_bias = false;
  bool query_key_norm = false;
  bool fused_projections = false;      // only in the written file
  double partial_rotary_factor = 1.0;  // rotary_dim / head_dim
  std::int64_t sliding_window = 0;     // 0: none
  std::int64_t first_windowed_layer = 0;
  std::int64_t shards = 1;
  std::string_view dtype = "F32";     // dtype of the written weights: "F32" or "BF16"
  bool representable_in_bf16 = true;  // weights are rounded to bfloat16 before anything else
};

/// A tensor of a checkpoint, row-major.
struct ReferenceTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

/// A forward pass in plain loops and double precision, sharing nothing with the worker's: the independent
/// reference of the worker's tests. Weights are pseudo-random, keyed by tensor name.
class ReferenceTransformer {
 public:
  explicit ReferenceTransformer(const ReferenceShape& shape);

  /// Writes config.json and the weights as a Hugging Face directory.
  void write(const std::filesystem::path& directory) const;
  /// Rounds every weight to bfloat16, as a worker with dtype bf16 does.
  void round_weights_to_bf16();

  /// [length][vocabulary]
  [[nodiscard]] std::vector<std::vector<double>> logits(const RescaleFactors& factors,
                                                        const std::vector<std::int32_t>& tokens,
                                                        std::int64_t length) const;
  /// NLL in nats of the token at each position given those before; entry 0 is 0. [length]
  [[nodiscard]] std::vector<double> token_nll(const RescaleFactors& factors, const std::vector<std::int32_t>& tokens,
                                              std::int64_t length) const;

  std::map<std::string, ReferenceTensor> tensors;  // by Hugging Face name; tests may break them before write()

 private:
  using Rows = std::vector<std::vector<double>>;
  /// rows·weightᵀ, plus the bias beside the weight if there is one.
  [[nodiscard]] Rows times(const Rows& rows, const std::string& weight) const;
  /// RMSNorm of every `weight`-sized part of every row.
  [[nodiscard]] Rows normed(const Rows& rows, const std::string& weight) const;
  [[nodiscard]] Rows attention(const Rows& query, const Rows& key, const Rows& value, std::int64_t window) const;
  [[nodiscard]] std::map<std::string, ReferenceTensor> stored_tensors() const;
  void rotate(Rows& rows, std::int64_t heads, const RescaleFactors& factors) const;
  void add_layer(Rows& residual, std::int64_t layer, const RescaleFactors& factors) const;

  ReferenceShape shape_;
};

/// `length` pseudo-random tokens below `vocabulary`; all are scored.
[[nodiscard]] Document random_document(std::int64_t length, std::int64_t vocabulary, std::uint32_t seed);
/// `pairs` non-decreasing λ from 1 to `largest`.
[[nodiscard]] RescaleFactors rising_factors(std::size_t pairs, double largest, std::int64_t n_hat, double attention);
/// A fresh empty directory for the running test.
[[nodiscard]] std::filesystem::path fresh_directory();

}  // namespace longrope
