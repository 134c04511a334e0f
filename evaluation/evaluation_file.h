#pragma once

#include "common/wire/score_result.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// The JSON of `longrope evaluate`, `longrope-evaluation/1`: a model measured under several methods. Lengths and
/// windows in tokens, NLL in nats.
struct EvaluationFile {
  struct Model {
    std::string name;
    std::string digest;
    std::int64_t original_length = 0;  // trained at
    std::int64_t reached_length = 0;   // by scaling that the checkpoint carries
  };
  struct Document {
    std::string name;
    double nll_sum = 0.0;
    std::int64_t scored_tokens = 0;
  };
  struct Perplexity {
    std::string method;  // "base", "pi", "ntk", "yarn", "dynamic_ntk", or the name of a factors file
    std::int64_t length = 0;
    std::string kind;                    // "single", "sliding"
    std::optional<std::int64_t> window;  // with "sliding", as the stride
    std::optional<std::int64_t> stride;
    double attention_factor = 1.0;
    double nll_sum = 0.0;
    std::int64_t scored_tokens = 0;
    double perplexity = 0.0;
    std::vector<ScoredBlock> blocks;  // block b: positions [b·kBlockTokens, (b+1)·kBlockTokens)
    std::vector<Document> documents;
  };
  struct Retrieval {
    std::string kind;  // "passkey", "needle"
    std::string method;
    std::int64_t length = 0;
    double depth = 0.0;  // share of the text before what is hidden
    std::int64_t right = 0;
    std::int64_t answers = 0;
    double accuracy = 0.0;
    double interval_low = 0.0;  // 95 %, exact
    double interval_high = 1.0;
  };
  Model model;
  std::string documents_file;
  std::int64_t document_count = 0;
  std::string dtype;
  std::string angles;
  std::vector<std::string> methods;  // in the order of the command
  std::vector<Perplexity> perplexity;
  std::vector<Retrieval> retrieval;
};

/// Treats the file as hostile: size limit 64 MiB, strict JSON, every number in its range; keys that are not listed
/// above are left alone. Throws InputError naming the rule, the value and the place. Thread-safe.
[[nodiscard]] EvaluationFile read_evaluation_file(const std::filesystem::path& path);

}  // namespace longrope
