#include "evaluation/engines/engine_questions.h"

#include "common/error.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace longrope {
namespace {

constexpr std::int64_t kMostPositions = 64;
constexpr std::array<std::pair<EngineApi, std::string_view>, 3> kApis = {{
    {EngineApi::kCompletions, "completions"},
    {EngineApi::kLlamaCpp, "llama.cpp"},
    {EngineApi::kLlamaCppPython, "llama-cpp-python"},
}};

constexpr long kDone = 200;
constexpr const char* kCompletions = "/v1/completions";
constexpr const char* kTokenize = "/extras/tokenize";

EngineNll ask_completions(HttpClient& engine, const EngineQuestion& question) {
  const std::string model =
      question.served_model.empty() ? served_model(engine.get("/v1/models")) : question.served_model;
  // vLLM reads prompt_logprobs, others echo and logprobs. One log-probability beside the prompt's token, because some
  // take 0 for none, and one token, because some take 0 for as many as fit.
  const nlohmann::json request = {
      {"model", model}, {"prompt", question.tokens}, {"max_tokens", 1}, {"temperature", 0}, {"echo", true},
      {"logprobs", 1},  {"prompt_logprobs", 1}};
  return prompt_nll(engine.post(kCompletions, request.dump()), question.tokens);
}

EngineNll ask_llama_cpp(HttpClient& engine, const EngineQuestion& question) {
  EngineNll result;
  // Ascending: each prompt begins with the one before, whose keys and values the server keeps.
  for (const std::int64_t position : spread_positions(static_cast<std::int64_t>(question.tokens.size()))) {
    const nlohmann::json request = {{"prompt", question.tokens.first(static_cast<std::size_t>(position))},
                                    {"n_predict", 1},
                                    {"temperature", 0},
                                    {"ignore_eos", true},
                                    {"cache_prompt", true},
                                    {"post_sampling_probs", false},
                                    {"n_probs", question.vocabulary}};
    const std::int32_t next = question.tokens[static_cast<std::size_t>(position)];
    result.positions.push_back(position);
    result.nll.push_back(next_token_nll(engine.post("/completion", request.dump()), position, next));
  }
  return result;
}

std::string json_text(const char* key, const nlohmann::json& value) { return nlohmann::json({{key, value}}).dump(); }

/// The server takes text alone, and pairs log-probabilities with the right tokens only where it puts a BOS before it
/// (Llama._create_completion of llama-cpp-python 0.3: all_tokens lose their BOS, all_logprobs do not).
EngineNll ask_llama_cpp_python(HttpClient& engine, const EngineQuestion& question) {
  const std::span<const std::int32_t> tokens = question.tokens;
  const std::vector<std::int32_t> added = tokenized(engine.post(kTokenize, json_text("input", "")));
  if (added.size() != 1 || added.front() != tokens.front()) {
    throw InputError(
        fmt::format("documents must begin with the BOS that llama-cpp-python's server puts before a text, because its "
                    "log-probabilities belong to other tokens without one: the document begins with token {}, the "
                    "server adds [{}]",
                    tokens.front(), fmt::join(added, ", ")));
  }
  const std::string text = detokenized(engine.post("/extras/detokenize", json_text("tokens", tokens.subspan(1))));
  const std::vector<std::int32_t> again = tokenized(engine.post(kTokenize, json_text("input", text)));
  const auto [ours, theirs] = std::ranges::mismatch(tokens, again);
  if (ours != tokens.end() || theirs != again.end()) {
    throw InputError(
        fmt::format("the text of a document must give its tokens again, because llama-cpp-python's server takes text "
                    "alone: token {} of {} is another",
                    ours - tokens.begin(), tokens.size()));
  }
  const nlohmann::json request = {
      {"prompt", text}, {"max_tokens", 1}, {"temperature", 0}, {"echo", true}, {"logprobs", 1}};
  return echoed_nll_behind_bos(engine.post(kCompletions, request.dump()), tokens);
}

}  // namespace

std::string_view to_string(EngineApi api) {
  return std::ranges::find(kApis, api, &std::pair<EngineApi, std::string_view>::first)->second;
}

EngineApi parse_engine_api(std::string_view text) {
  const auto* const found = std::ranges::find(kApis, text, &std::pair<EngineApi, std::string_view>::second);
  if (found == kApis.end()) {
    throw InputError(fmt::format("an engine's API must be completions, llama.cpp or llama-cpp-python: {}", text));
  }
  return found->first;
}

std::vector<std::int64_t> spread_positions(std::int64_t length) {
  const std::int64_t count = std::min(kMostPositions, length - 1);
  std::vector<std::int64_t> positions;
  for (std::int64_t index = 0; index < count; ++index) {
    positions.push_back(count == 1 ? 1 : 1 + index * (length - 2) / (count - 1));
  }
  return positions;
}

EngineApi recognized_api(HttpClient& engine) {
  if (engine.get("/props").status == kDone) return EngineApi::kLlamaCpp;
  if (engine.post(kTokenize, json_text("input", "")).status == kDone) return EngineApi::kLlamaCppPython;
  return EngineApi::kCompletions;
}

EngineNll ask_engine(HttpClient& engine, EngineApi api, const EngineQuestion& question) {
  switch (api) {
    case EngineApi::kCompletions:
      return ask_completions(engine, question);
    case EngineApi::kLlamaCpp:
      return ask_llama_cpp(engine, question);
    case EngineApi::kLlamaCppPython:
      return ask_llama_cpp_python(engine, question);
  }
  throw std::logic_error("an API without a question");
}

}  // namespace longrope
