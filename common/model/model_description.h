#pragma once

#include "common/model/rope_scaling.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// What config.json of a Hugging Face directory says, and of its weights whether lm_head is the embedding.
struct ModelDescription {
  std::filesystem::path directory;
  std::string name;          // the directory's name
  std::string architecture;  // a name of kArchitectures: "LlamaForCausalLM"
  std::int64_t vocabulary = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t layers = 0;
  std::int64_t query_heads = 0;
  std::int64_t key_value_heads = 0;
  std::int64_t head_dim = 0;
  double rms_norm_epsilon = 1e-5;
  bool tied_embeddings = false;  // the lm_head is the embedding; false where the checkpoint holds another lm_head
  std::optional<std::int64_t> bos_token;
  bool query_key_value_bias = false;
  bool attention_output_bias = false;
  bool feed_forward_bias = false;
  bool query_key_norm = false;
  bool fused_projections = false;
  std::vector<std::int64_t> sliding_windows;  // [layers] last tokens that a query sees, itself included; 0: all
  RotaryGeometry geometry;
  RopeScaling scaling;        // rope scaling that the checkpoint carries
  std::string weights_dtype;  // "bfloat16" as config.json says
  std::string assumption;     // how far the model was taken to reach, where that is left open; else empty
  /// What a person should know about the checkpoint, a whole sentence each; commands print them.
  std::vector<std::string> warnings;

  /// The factors of the model as it is, for a document of `length` tokens.
  [[nodiscard]] const RescaleFactors& own_factors(std::int64_t length) const;
  /// The widest sliding window of any layer, 0 without one.
  [[nodiscard]] std::int64_t sliding_window() const;
  /// Channels of all query heads together, and of all key heads together, which value heads have too.
  [[nodiscard]] std::int64_t query_width() const { return query_heads * head_dim; }
  [[nodiscard]] std::int64_t key_value_width() const { return key_value_heads * head_dim; }
  /// Elements of the matrices of one layer; norms and biases are too few to count.
  [[nodiscard]] std::int64_t layer_weights() const {
    return hidden_size * (2 * query_width() + 2 * key_value_width() + 3 * intermediate_size);
  }
};

/// Reads config.json. Throws InputError naming file, key and value for a key that is missing, of the wrong type or out
/// of range, an architecture that is not supported (common/model/architecture.h), and anything that the worker's
/// forward pass does not do. Weights need not be there; an lm_head beside a tied embedding is compared with it.
/// `reached_length`: tokens that the model is made for, where the user says it
/// (parse_rope_parameters(), which also says what contradicts config.json).
[[nodiscard]] ModelDescription describe_model(const std::filesystem::path& directory,
                                              std::optional<std::int64_t> reached_length = std::nullopt);

/// model.safetensors, or the shards that model.safetensors.index.json names (no path may leave the directory).
/// Throws InputError naming a missing shard.
[[nodiscard]] std::vector<std::filesystem::path> weight_files(const std::filesystem::path& directory);

/// SHA-256 over config.json and every weight file, in name order, and over the fact that an lm_head is kept apart from
/// the embedding that config.json ties it to: the identity of a model in messages and database.
/// `file_digest` gives the SHA-256 of one file [sha256_of_file(), which reads it].
using FileDigest = std::function<std::string(const std::filesystem::path& file)>;
[[nodiscard]] std::string model_digest(const std::filesystem::path& directory, const FileDigest& file_digest);
[[nodiscard]] std::string model_digest(const std::filesystem::path& directory);

/// A model whose files are hashed when its digest is asked for.
struct IdentifiedModel {
  ModelDescription description;
  FileDigest file_digest;

  /// model_digest() of its directory. Throws as it does.
  [[nodiscard]] std::string digest() const { return model_digest(description.directory, file_digest); }
};
/// The model of `directory`; every call of digest() reads its weights.
[[nodiscard]] IdentifiedModel identify_model(const std::filesystem::path& directory,
                                             std::optional<std::int64_t> reached_length = std::nullopt);

}  // namespace longrope
