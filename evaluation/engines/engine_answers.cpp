#include "evaluation/engines/engine_answers.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstddef>
#include <limits>

namespace longrope {
namespace {

constexpr long kDone = 200;
// Engines round: a token that is certain may have a log-probability of a little more than 0.
constexpr double kHighestLogProbability = 1e-3;

nlohmann::json parsed(const HttpAnswer& answer) {
  if (answer.status != kDone) {
    throw InputError(
        fmt::format("an engine must answer with status 200: {} {} ({})", answer.status, answer.body, answer.place));
  }
  return parse_strict_json(answer.body, answer.place);
}

/// An engine answers one prompt with one choice.
JsonObject only_choice(const JsonObject& answer) {
  std::vector<JsonObject> choices = answer.objects("choices");
  if (choices.size() != 1) {
    throw InputError(fmt::format("an answer must have one choice: {} ({})", choices.size(), answer.where("choices")));
  }
  return choices.front();
}

/// The array `key` of `object`, items of which may be null.
const nlohmann::json& array_of(const nlohmann::json& object, const char* key, const std::string& place) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) {
    throw InputError(fmt::format("an answer must have the array {} ({})", key, place));
  }
  return *found;
}

double nll_of(const nlohmann::json& log_probability, std::int64_t position, const std::string& place) {
  const double value = log_probability.is_number() ? log_probability.get<double>() : std::nan("");
  if (!std::isfinite(value) || value > kHighestLogProbability) {
    throw InputError(fmt::format("a log-probability must be a number of at most 0: {} at position {} ({})",
                                 log_probability.dump(), position, place));
  }
  return -value;
}

[[noreturn]] void refuse_count(std::size_t found, std::int64_t expected, const std::string& place) {
  throw InputError(fmt::format("an answer must have a log-probability for each of the {} tokens of the prompt: {} ({})",
                               expected, found, place));
}

std::int64_t count_of(std::span<const std::int32_t> tokens) { return static_cast<std::int64_t>(tokens.size()); }

/// `prompt_logprobs`: null, then for each token an object of {id: {"logprob": …}} with the prompt's token among others.
EngineNll nll_by_id(const nlohmann::json& prompt, std::span<const std::int32_t> tokens, const std::string& place) {
  if (prompt.size() != tokens.size()) refuse_count(prompt.size(), count_of(tokens), place);
  EngineNll result;
  for (std::size_t position = 1; position < tokens.size(); ++position) {
    const nlohmann::json& entries = prompt[position];
    const std::string id = std::to_string(tokens[position]);
    const auto entry = entries.is_object() ? entries.find(id) : entries.end();
    if (entry == entries.end() || !entry->is_object()) {
      throw InputError(fmt::format("an answer must be about the prompt's tokens: position {} has no token {} ({})",
                                   position, id, place));
    }
    const auto at = static_cast<std::int64_t>(position);
    result.positions.push_back(at);
    result.nll.push_back(nll_of(entry->value("logprob", nlohmann::json()), at, place));
  }
  return result;
}

/// Log-probabilities [first in `items`…] of the tokens from position `first` + `shift` on.
EngineNll nll_in_order(const nlohmann::json& items, std::size_t first, std::size_t shift, std::size_t tokens,
                       const std::string& place) {
  EngineNll result;
  for (std::size_t item = first; item + shift < tokens; ++item) {
    const auto position = static_cast<std::int64_t>(item + shift);
    result.positions.push_back(position);
    result.nll.push_back(nll_of(items[item], position, place));
  }
  return result;
}

const nlohmann::json& first_choice(const nlohmann::json& answer) { return answer["choices"].front(); }

const nlohmann::json& token_logprobs(const nlohmann::json& choice, const std::string& place) {
  const auto logprobs = choice.find("logprobs");
  if (logprobs == choice.end() || !logprobs->is_object()) {
    throw InputError(
        fmt::format("an engine must give log-probabilities of its prompt, as prompt_logprobs or "
                    "logprobs.token_logprobs: the answer has neither ({})",
                    place));
  }
  return array_of(*logprobs, "token_logprobs", place);
}

/// Refuses a prompt that the engine cut off, or put tokens before.
void require_prompt_tokens(const JsonObject& answer, std::int64_t expected) {
  const JsonObject usage = answer.object("usage");
  const std::int64_t found = usage.integer("prompt_tokens", 0);
  if (found != expected) {
    throw InputError(fmt::format("an engine must see the prompt's {} tokens, no more and no fewer: {} ({})", expected,
                                 found, usage.where("prompt_tokens")));
  }
}

}  // namespace

EngineNll prompt_nll(const HttpAnswer& answer, std::span<const std::int32_t> tokens) {
  const nlohmann::json json = parsed(answer);
  const JsonObject object(json, answer.place);
  const JsonObject choice = only_choice(object);
  if (choice.has("prompt_logprobs")) {
    return nll_by_id(array_of(first_choice(json), "prompt_logprobs", answer.place), tokens, answer.place);
  }
  require_prompt_tokens(object, count_of(tokens));
  const nlohmann::json& echoed = token_logprobs(first_choice(json), answer.place);
  const std::size_t generated = 1;
  if (echoed.size() != tokens.size() && echoed.size() != tokens.size() + generated) {
    refuse_count(echoed.size(), count_of(tokens), answer.place);
  }
  return nll_in_order(echoed, 1, 0, tokens.size(), answer.place);
}

EngineNll echoed_nll_behind_bos(const HttpAnswer& answer, std::span<const std::int32_t> tokens) {
  const nlohmann::json json = parsed(answer);
  const JsonObject object(json, answer.place);
  static_cast<void>(only_choice(object));
  require_prompt_tokens(object, count_of(tokens));
  const nlohmann::json& echoed = token_logprobs(first_choice(json), answer.place);
  const std::size_t behind_bos = tokens.size() - 1;
  const std::size_t generated = 1;
  if (echoed.size() != behind_bos && echoed.size() != behind_bos + generated) {
    refuse_count(echoed.size(), static_cast<std::int64_t>(behind_bos), answer.place);
  }
  return nll_in_order(echoed, 1, 1, tokens.size(), answer.place);
}

double next_token_nll(const HttpAnswer& answer, std::int64_t prompt_tokens, std::int32_t next) {
  const nlohmann::json json = parsed(answer);
  const JsonObject object(json, answer.place);
  const std::int64_t evaluated = object.integer("tokens_evaluated", 0);
  // Not `truncated`, which is also true of a prompt that leaves room for the one token alone.
  if (evaluated != prompt_tokens) {
    throw InputError(fmt::format("an engine must see the prompt's {} tokens, no more and no fewer: {} ({})",
                                 prompt_tokens, evaluated, object.where("tokens_evaluated")));
  }
  const std::vector<JsonObject> generated = object.objects("completion_probabilities");
  if (generated.size() != 1) {
    throw InputError(fmt::format("an answer must have the probabilities of one token: {} ({})", generated.size(),
                                 object.where("completion_probabilities")));
  }
  for (const JsonObject& candidate : generated.front().objects("top_logprobs")) {
    if (candidate.integer("id", 0) != next) continue;
    return nll_of(nlohmann::json(candidate.number("logprob")), prompt_tokens, answer.place);
  }
  throw InputError(
      fmt::format("an answer must have the log-probability of token {} at position {}: it is not among "
                  "its top_logprobs ({})",
                  next, prompt_tokens, answer.place));
}

std::string served_model(const HttpAnswer& answer) {
  const nlohmann::json json = parsed(answer);
  const JsonObject object(json, answer.place);
  std::vector<std::string> names;
  for (const JsonObject& model : object.objects("data")) names.push_back(model.text("id"));
  if (names.size() != 1) {
    throw InputError(
        fmt::format("the model must be named where an engine serves another number than one: {} "
                    "(--served-model, {})",
                    names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")), answer.place));
  }
  return names.front();
}

std::vector<std::int32_t> tokenized(const HttpAnswer& answer) {
  const nlohmann::json json = parsed(answer);
  std::vector<std::int32_t> tokens;
  for (const std::int64_t token :
       JsonObject(json, answer.place).integers("tokens", 0, std::numeric_limits<std::int32_t>::max())) {
    tokens.push_back(static_cast<std::int32_t>(token));
  }
  return tokens;
}

std::string detokenized(const HttpAnswer& answer) {
  const nlohmann::json json = parsed(answer);
  return JsonObject(json, answer.place).text("text");
}

}  // namespace longrope
