#pragma once

#include "evaluation/engines/http_client.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// How costly an engine found tokens of a document, in nats.
struct EngineNll {
  std::vector<std::int64_t> positions;  // of the tokens, 0-based, ascending; never 0: nothing predicts the first
  std::vector<double> nll;              // [positions], nats
};

// The answers of engines, which are hostile until checked. Every function throws InputError that names the rule, the
// value and the place for anything else than it describes: another status than 200, malformed JSON, log-probabilities
// that are missing, positive or not finite, answers about other tokens or fewer of them. `tokens` is the prompt.

/// /v1/completions of a prompt of token ids. vLLM answers `prompt_logprobs` with the ids, which must be those of
/// `tokens`; other engines (SGLang) echo the prompt in `logprobs.token_logprobs`, null at first, and may add the
/// generated token.
[[nodiscard]] EngineNll prompt_nll(const HttpAnswer& answer, std::span<const std::int32_t> tokens);

/// /v1/completions of llama-cpp-python's server, whose echo leaves out the BOS that the prompt begins with and writes
/// null at the token behind it, so the first position is 2. Tokens that equal the BOS are left out too, so a document
/// that holds others is refused by the number of log-probabilities.
[[nodiscard]] EngineNll echoed_nll_behind_bos(const HttpAnswer& answer, std::span<const std::int32_t> tokens);

/// /completion of llama.cpp's server with `n_probs`: the NLL of `next` after a prompt of `prompt_tokens` tokens.
[[nodiscard]] double next_token_nll(const HttpAnswer& answer, std::int64_t prompt_tokens, std::int32_t next);

/// The only model that /v1/models lists.
[[nodiscard]] std::string served_model(const HttpAnswer& answer);

/// /extras/tokenize and /extras/detokenize of llama-cpp-python's server.
[[nodiscard]] std::vector<std::int32_t> tokenized(const HttpAnswer& answer);
[[nodiscard]] std::string detokenized(const HttpAnswer& answer);

}  // namespace longrope
