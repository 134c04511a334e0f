#pragma once

#include "evaluation/engines/engine_answers.h"
#include "evaluation/engines/http_client.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// What an engine is asked by.
enum class EngineApi {
  kCompletions,     // /v1/completions with log-probabilities of a prompt of token ids: vLLM, SGLang
  kLlamaCpp,        // /completion with n_probs, the next token at some positions: llama.cpp's own server
  kLlamaCppPython,  // /v1/completions with an echoed text: llama-cpp-python's server
};
[[nodiscard]] std::string_view to_string(EngineApi api);  // "completions", "llama.cpp", "llama-cpp-python"
/// Throws InputError for any other text.
[[nodiscard]] EngineApi parse_engine_api(std::string_view text);

struct EngineQuestion {
  std::span<const std::int32_t> tokens;  // of the document, at least two
  std::int64_t vocabulary = 0;           // tokens of the model's vocabulary
  std::string served_model = {};         // empty: the only one that the engine serves
};

/// Positions at which an engine is asked for the next token when it gives no log-probabilities of its prompt: 64 spread
/// evenly over [1, length), the first and the last included; all where there are no more.
[[nodiscard]] std::vector<std::int64_t> spread_positions(std::int64_t length);

/// By which API the engine wants to be asked: llama.cpp's server answers GET /props, llama-cpp-python's POST
/// /extras/tokenize, everything else is taken for kCompletions.
[[nodiscard]] EngineApi recognized_api(HttpClient& engine);

/// What the tokens cost the engine. Throws InputError when it cannot be asked, or what it answers is not accepted.
[[nodiscard]] EngineNll ask_engine(HttpClient& engine, EngineApi api, const EngineQuestion& question);

}  // namespace longrope
