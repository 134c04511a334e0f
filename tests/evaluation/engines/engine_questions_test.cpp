#include "evaluation/engines/engine_questions.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Json = nlohmann::json;

/// An engine in this process: a function for each "METHOD /path", which gets the request; all else is not found.
class FakeEngine final : public HttpClient {
 public:
  std::map<std::string, std::function<Json(const Json& request)>> paths;
  std::vector<std::pair<std::string, Json>> requests;

  HttpAnswer get(const std::string& path) override { return answer("GET " + path, Json()); }
  HttpAnswer post(const std::string& path, const std::string& json) override {
    return answer("POST " + path, Json::parse(json));
  }

 private:
  HttpAnswer answer(const std::string& place, const Json& request) {
    requests.emplace_back(place, request);
    const auto found = paths.find(place);
    if (found == paths.end()) return {.status = 404, .body = R"({"detail":"Not Found"})", .place = place};
    return {.status = 200, .body = found->second(request).dump(), .place = place};
  }
};

const std::vector<std::int32_t> kTokens = {256, 84, 104, 101, 32};

EngineQuestion question() { return {.tokens = kTokens, .vocabulary = 258}; }

TEST(EngineQuestionsTest, PositionsAreSpreadFromTheSecondTokenToTheLast) {
  EXPECT_THAT(spread_positions(2), ElementsAre(1));
  EXPECT_THAT(spread_positions(5), ElementsAre(1, 2, 3, 4));
  std::vector<std::int64_t> all(64);
  std::iota(all.begin(), all.end(), 1);
  EXPECT_EQ(spread_positions(65), all);
  const std::vector<std::int64_t> spread = spread_positions(4096);
  EXPECT_EQ(spread.size(), 64U);
  EXPECT_EQ(spread.front(), 1);
  EXPECT_EQ(spread.back(), 4095);
  for (std::size_t index = 1; index < spread.size(); ++index) {
    EXPECT_THAT(spread[index] - spread[index - 1], testing::AnyOf(64, 65, 66));
  }
}

TEST(EngineQuestionsTest, CompletionsAreAskedWithTokenIdsForTheServedModel) {
  FakeEngine engine;
  engine.paths["GET /v1/models"] = [](const Json&) { return Json::parse(R"({"data":[{"id":"my-llama"}]})"); };
  engine.paths["POST /v1/completions"] = [](const Json&) {
    return Json::parse(R"({"choices":[{"prompt_logprobs":[null,{"84":{"logprob":-1}},{"104":{"logprob":-2}},
                           {"101":{"logprob":-3}},{"32":{"logprob":-4}}]}]})");
  };
  EXPECT_EQ(recognized_api(engine), EngineApi::kCompletions);
  const EngineNll found = ask_engine(engine, EngineApi::kCompletions, question());
  EXPECT_THAT(found.nll, ElementsAre(1, 2, 3, 4));
  const Json& request = engine.requests.back().second;
  EXPECT_EQ(request["model"], "my-llama");
  EXPECT_EQ(request["prompt"], Json(kTokens));
  EXPECT_EQ(request["max_tokens"], 1);
  EXPECT_EQ(request["echo"], true);
  EXPECT_EQ(request["logprobs"], 1);
  EXPECT_EQ(request["prompt_logprobs"], 1);
}

TEST(EngineQuestionsTest, AServedModelThatIsNamedIsNotAskedFor) {
  FakeEngine engine;
  EngineQuestion named = question();
  named.served_model = "other";
  EXPECT_THROW(static_cast<void>(ask_engine(engine, EngineApi::kCompletions, named)), InputError);
  ASSERT_EQ(engine.requests.size(), 1U);
  EXPECT_EQ(engine.requests[0].first, "POST /v1/completions");
  EXPECT_EQ(engine.requests[0].second["model"], "other");
}

TEST(EngineQuestionsTest, LlamaCppIsAskedForTheNextTokenAfterEachPrefix) {
  FakeEngine engine;
  engine.paths["GET /props"] = [](const Json&) { return Json::object(); };
  engine.paths["POST /completion"] = [](const Json& request) {
    const std::size_t length = request["prompt"].size();
    Json likely = Json::array();
    for (int id = 0; id < 258; ++id) likely.push_back({{"id", id}, {"logprob", -double(id) - double(length) / 8}});
    return Json{{"tokens_evaluated", length}, {"completion_probabilities", {{{"top_logprobs", likely}}}}};
  };
  EXPECT_EQ(recognized_api(engine), EngineApi::kLlamaCpp);
  const EngineNll found = ask_engine(engine, EngineApi::kLlamaCpp, question());
  EXPECT_THAT(found.positions, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(found.nll, ElementsAre(84.125, 104.25, 101.375, 32.5));
  const Json& last = engine.requests.back().second;
  EXPECT_EQ(last["prompt"], Json({256, 84, 104, 101}));
  EXPECT_EQ(last["n_probs"], 258);
  EXPECT_EQ(last["n_predict"], 1);
  EXPECT_EQ(last["cache_prompt"], true);
}

/// llama-cpp-python's server over bytes, which puts `bos` before every text.
FakeEngine byte_server(const std::vector<std::int32_t>& bos) {
  FakeEngine engine;
  engine.paths["POST /extras/tokenize"] = [=](const Json& request) {
    std::vector<std::int32_t> tokens = bos;
    for (const char byte : request["input"].get<std::string>()) tokens.push_back(byte);
    return Json{{"tokens", tokens}};
  };
  engine.paths["POST /extras/detokenize"] = [](const Json& request) {
    std::string text;
    for (const int token : request["tokens"]) text += static_cast<char>(token);
    return Json{{"text", text}};
  };
  engine.paths["POST /v1/completions"] = [](const Json&) {
    return Json::parse(R"({"choices":[{"logprobs":{"token_logprobs":[null,-2,-3,-4,-0.5]}}],
                           "usage":{"prompt_tokens":5}})");
  };
  return engine;
}

TEST(EngineQuestionsTest, LlamaCppPythonIsAskedWithTheDocumentsText) {
  FakeEngine engine = byte_server({256});
  EXPECT_EQ(recognized_api(engine), EngineApi::kLlamaCppPython);
  const EngineNll found = ask_engine(engine, EngineApi::kLlamaCppPython, question());
  EXPECT_THAT(found.positions, ElementsAre(2, 3, 4));
  EXPECT_THAT(found.nll, ElementsAre(2, 3, 4));
  EXPECT_EQ(engine.requests.back().second["prompt"], "The ");
}

std::string refusal(FakeEngine& engine) {
  try {
    static_cast<void>(ask_engine(engine, EngineApi::kLlamaCppPython, question()));
  } catch (const InputError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(EngineQuestionsTest, LlamaCppPythonWithoutTheDocumentsBosIsRefused) {
  FakeEngine without = byte_server({});
  EXPECT_THAT(refusal(without), HasSubstr("the document begins with token 256, the server adds []"));
  FakeEngine other = byte_server({1});
  EXPECT_THAT(refusal(other), HasSubstr("the server adds [1]"));
}

TEST(EngineQuestionsTest, ATextThatGivesOtherTokensIsRefused) {
  FakeEngine engine = byte_server({256});
  engine.paths["POST /extras/detokenize"] = [](const Json&) { return Json{{"text", "Tha "}}; };
  EXPECT_THAT(refusal(engine), HasSubstr("token 3 of 5 is another"));
  engine.paths["POST /extras/detokenize"] = [](const Json&) { return Json{{"text", "The"}}; };
  EXPECT_THAT(refusal(engine), HasSubstr("token 4 of 5 is another"));
}

TEST(EngineQuestionsTest, NamesOfApisAreReadBack) {
  for (const EngineApi api : {EngineApi::kCompletions, EngineApi::kLlamaCpp, EngineApi::kLlamaCppPython}) {
    EXPECT_EQ(parse_engine_api(to_string(api)), api);
  }
  EXPECT_THROW(static_cast<void>(parse_engine_api("ollama")), InputError);
}

}  // namespace
}  // namespace longrope
