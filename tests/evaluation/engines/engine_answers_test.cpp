#include "evaluation/engines/engine_answers.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>

namespace longrope {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::array<std::int32_t, 4> kTokens = {256, 84, 104, 101};

HttpAnswer answer(std::string body, long status = 200) {
  return {.status = status, .body = std::move(body), .place = "POST http://engine/v1/completions"};
}

std::string refusal(const std::function<void()>& ask) {
  try {
    ask();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("http://engine/v1/completions"));
    return error.what();
  }
  return "not refused";
}

std::string refused_prompt(const std::string& body, long status = 200) {
  return refusal([&] { static_cast<void>(prompt_nll(answer(body, status), kTokens)); });
}

/// The form of vLLM's answer (CompletionResponseChoice.prompt_logprobs), with the likeliest token beside the prompt's.
std::string vllm(const std::string& prompt_logprobs) {
  return R"({"id":"cmpl-1","object":"text_completion","model":"my-llama","choices":[{"index":0,"text":"The.",)"
         R"("logprobs":{"text_offset":[0,0,1,2,3],"token_logprobs":[null,-1.5,-0.25,-2.0,-0.5],"tokens":["","T","h","e","."],)"
         R"("top_logprobs":[null,{"T":-1.5},{"h":-0.25},{"e":-2.0},{".":-0.5}]},"finish_reason":"length",)"
         R"("stop_reason":null,"prompt_logprobs":)" +
         prompt_logprobs + R"(}],"usage":{"prompt_tokens":4,"total_tokens":5,"completion_tokens":1}})";
}

/// The form of SGLang's answer: the prompt echoed, then the generated token.
std::string echoed(const std::string& token_logprobs, int prompt_tokens = 4) {
  return R"({"id":"cmpl-1","object":"text_completion","model":"my-llama","choices":[{"index":0,"text":"The.",)"
         R"("logprobs":{"text_offset":[-1,-1,-1,-1,-1],"tokens":["","T","h","e","."],"token_logprobs":)" +
         token_logprobs + R"(},"finish_reason":"length"}],"usage":{"prompt_tokens":)" + std::to_string(prompt_tokens) +
         R"(,"total_tokens":5,"completion_tokens":1}})";
}

/// The form of an answer of llama.cpp's server (server_task_result_cmpl_final, post_sampling_probs false).
std::string llama_cpp(const std::string& top_logprobs, int evaluated = 3, const std::string& truncated = "false") {
  return R"({"index":0,"content":"e","tokens":[],"stop":true,"tokens_predicted":1,"tokens_evaluated":)" +
         std::to_string(evaluated) + R"(,"truncated":)" + truncated +
         R"(,"stop_type":"limit","completion_probabilities":[{"id":101,"token":"e","bytes":[101],"logprob":-0.125,)"
         R"("top_logprobs":)" +
         top_logprobs + "}]}";
}

TEST(EngineAnswersTest, PromptLogProbabilitiesByIdAreOfTheDocumentsTokens) {
  const EngineNll found = prompt_nll(
      answer(vllm(R"([null,{"84":{"logprob":-1.5,"rank":3,"decoded_token":"T"},"73":{"logprob":-0.5,"rank":1}},)"
                  R"({"104":{"logprob":-0.25,"rank":1}},{"101":{"logprob":-2.0,"rank":7},"32":{"logprob":-0.1}}])")),
      kTokens);
  EXPECT_THAT(found.positions, ElementsAre(1, 2, 3));
  EXPECT_THAT(found.nll, ElementsAre(1.5, 0.25, 2.0));
}

TEST(EngineAnswersTest, PromptLogProbabilitiesOfOtherTokensAreRefused) {
  EXPECT_THAT(
      refused_prompt(vllm(R"([null,{"84":{"logprob":-1.5}},{"105":{"logprob":-0.2}},{"101":{"logprob":-2.0}}])")),
      HasSubstr("an answer must be about the prompt's tokens: position 2 has no token 104"));
  EXPECT_THAT(refused_prompt(vllm(R"([null,{"84":{"logprob":-1.5}},null,{"101":{"logprob":-2.0}}])")),
              HasSubstr("position 2 has no token 104"));
}

TEST(EngineAnswersTest, PromptLogProbabilitiesOfFewerTokensAreRefused) {
  EXPECT_THAT(refused_prompt(vllm(R"([null,{"84":{"logprob":-1.5}},{"104":{"logprob":-0.2}}])")),
              HasSubstr("for each of the 4 tokens of the prompt: 3"));
}

TEST(EngineAnswersTest, EchoedLogProbabilitiesLeaveOutTheFirstAndTheGeneratedToken) {
  for (const char* values : {"[null,-1.5,-0.25,-2.0,-0.5]", "[null,-1.5,-0.25,-2.0]", "[-9,-1.5,-0.25,-2.0]"}) {
    const EngineNll found = prompt_nll(answer(echoed(values)), kTokens);
    EXPECT_THAT(found.positions, ElementsAre(1, 2, 3)) << values;
    EXPECT_THAT(found.nll, ElementsAre(1.5, 0.25, 2.0)) << values;
  }
}

TEST(EngineAnswersTest, EchoedPromptsOfAnotherLengthAreRefused) {
  EXPECT_THAT(refused_prompt(echoed("[null,-1.5,-0.25]")), HasSubstr("for each of the 4 tokens of the prompt: 3"));
  EXPECT_THAT(refused_prompt(echoed("[null,-1,-1,-1,-1,-1]")), HasSubstr("4 tokens of the prompt: 6"));
  EXPECT_THAT(refused_prompt(echoed("[null,-1.5,-0.25,-2.0,-0.5]", 5)),
              HasSubstr("an engine must see the prompt's 4 tokens, no more and no fewer: 5"));
}

TEST(EngineAnswersTest, LogProbabilitiesThatAreNoneAreRefused) {
  EXPECT_THAT(refused_prompt(echoed("[null,-1.5,null,-2.0]")),
              HasSubstr("a log-probability must be a number of at most 0: null at position 2"));
  EXPECT_THAT(refused_prompt(echoed("[null,-1.5,0.5,-2.0]")), HasSubstr("0.5 at position 2"));
  EXPECT_THAT(refused_prompt(echoed(R"([null,-1.5,"-1",-2.0])")), HasSubstr("\"-1\" at position 2"));
  EXPECT_THAT(refused_prompt(vllm(R"([null,{"84":{"rank":1}},{"104":{"logprob":-1}},{"101":{"logprob":-1}}])")),
              HasSubstr("null at position 1"));
  EXPECT_THAT(refused_prompt(echoed("[null,-1.5,-Infinity,-2.0]")), HasSubstr("JSON must be well-formed"));
}

TEST(EngineAnswersTest, ACertainTokenMayBeRoundedToALittleMoreThanCertain) {
  EXPECT_THAT(prompt_nll(answer(echoed("[null,1e-7,0,-2.0]")), kTokens).nll, ElementsAre(-1e-7, 0.0, 2.0));
}

TEST(EngineAnswersTest, EnginesWithoutLogProbabilitiesOfThePromptAreRefused) {
  EXPECT_THAT(refused_prompt(R"({"choices":[{"text":"x","logprobs":null}],"usage":{"prompt_tokens":4}})"),
              HasSubstr("an engine must give log-probabilities of its prompt"));
  EXPECT_THAT(refused_prompt(R"({"choices":[{"text":"x","logprobs":{"content":[]}}],"usage":{"prompt_tokens":4}})"),
              HasSubstr("an answer must have the array token_logprobs"));
}

TEST(EngineAnswersTest, MalformedAnswersAreRefused) {
  for (const char* body : {"", "{", "[]", "null", "<html>", "{}", R"({"choices":[]})", R"({"choices":{}})",
                           R"({"choices":[1]})", R"({"choices":[{},{}]})", R"({"choices":[{"prompt_logprobs":1}]})",
                           R"({"choices":[{"logprobs":{"token_logprobs":[]}}]})", "\xff"}) {
    EXPECT_THAT(refused_prompt(body), HasSubstr("must")) << body;
  }
}

TEST(EngineAnswersTest, WhatAnEngineSaysWhenItRefusesIsShown) {
  EXPECT_THAT(
      refused_prompt(R"({"object":"error","message":"maximum context length is 2048 tokens"})", 400),
      HasSubstr("an engine must answer with status 200: 400 {\"object\":\"error\",\"message\":\"maximum context"));
}

TEST(EngineAnswersTest, AnEchoBehindABosBeginsAtTheSecondTokenBehindIt) {
  // llama-cpp-python: the BOS is left out, the first of the others is null, the generated token comes last.
  const EngineNll found = echoed_nll_behind_bos(answer(echoed("[null,-0.25,-2.0,-0.5]")), kTokens);
  EXPECT_THAT(found.positions, ElementsAre(2, 3));
  EXPECT_THAT(found.nll, ElementsAre(0.25, 2.0));
  EXPECT_THAT(echoed_nll_behind_bos(answer(echoed("[null,-0.25,-2.0]")), kTokens).nll, ElementsAre(0.25, 2.0));
  for (const char* values : {"[null,-0.25]", "[null,-1,-1,-1,-1]"}) {
    EXPECT_THAT(refusal([&] { static_cast<void>(echoed_nll_behind_bos(answer(echoed(values)), kTokens)); }),
                HasSubstr("each of the 3 tokens"));
  }
}

TEST(EngineAnswersTest, TheNextTokenIsFoundAmongTheLikelyOnes) {
  const char* const likely =
      R"([{"id":32,"token":" ","bytes":[32],"logprob":-0.1},{"id":101,"token":"e","logprob":-2.5}])";
  EXPECT_THAT(next_token_nll(answer(llama_cpp(likely)), 3, 101), DoubleEq(2.5));
}

TEST(EngineAnswersTest, APromptThatLeavesRoomForOneTokenAloneIsNotCutOff) {
  EXPECT_EQ(next_token_nll(answer(llama_cpp(R"([{"id":101,"logprob":-2.5}])", 3, "true")), 3, 101), 2.5);
}

TEST(EngineAnswersTest, ANextTokenThatIsNotAmongTheLikelyOnesIsRefused) {
  EXPECT_THAT(
      refusal([] { static_cast<void>(next_token_nll(answer(llama_cpp(R"([{"id":32,"logprob":-0.1}])")), 3, 101)); }),
      HasSubstr("an answer must have the log-probability of token 101 at position 3"));
}

TEST(EngineAnswersTest, PromptsThatTheServerChangedAreRefused) {
  const auto refused = [](const std::string& body) {
    return refusal([&] { static_cast<void>(next_token_nll(answer(body), 3, 101)); });
  };
  const char* const likely = R"([{"id":101,"logprob":-2.5}])";
  EXPECT_THAT(refused(llama_cpp(likely, 4)), HasSubstr("must see the prompt's 3 tokens, no more and no fewer: 4"));
  EXPECT_THAT(refused(llama_cpp(likely, 2, "true")), HasSubstr("must see the prompt's 3 tokens"));
  EXPECT_THAT(refused(llama_cpp(R"([{"id":101,"logprob":1.5}])")), HasSubstr("at most 0: 1.5 at position 3"));
  // Before December 2024 the server named texts, not ids.
  EXPECT_THAT(
      refused(R"({"tokens_evaluated":3,"completion_probabilities":[{"content":"e","probs":[{"tok_str":"e"}]}]})"),
      HasSubstr("top_logprobs"));
  EXPECT_THAT(refused(R"({"tokens_evaluated":3,"completion_probabilities":[]})"),
              HasSubstr("the probabilities of one token: 0"));
}

TEST(EngineAnswersTest, TheOnlyServedModelIsTaken) {
  EXPECT_EQ(served_model(answer(R"({"object":"list","data":[{"id":"my-llama","object":"model"}]})")), "my-llama");
  EXPECT_THAT(refusal([] { static_cast<void>(served_model(answer(R"({"data":[{"id":"one"},{"id":"two"}]})"))); }),
              HasSubstr("one, two (--served-model"));
  EXPECT_THAT(refusal([] { static_cast<void>(served_model(answer(R"({"data":[]})"))); }), HasSubstr("none"));
}

TEST(EngineAnswersTest, TokensAndTextsOfTheTokenizerAreRead) {
  EXPECT_THAT(tokenized(answer(R"({"tokens":[256,84]})")), ElementsAre(256, 84));
  EXPECT_EQ(detokenized(answer(R"({"text":"Th"})")), "Th");
  EXPECT_THAT(refusal([] { static_cast<void>(tokenized(answer(R"({"tokens":[-1]})"))); }), HasSubstr("tokens"));
  EXPECT_THAT(refusal([] { static_cast<void>(tokenized(answer(R"({"tokens":[4294967296]})"))); }), HasSubstr("tokens"));
  EXPECT_THAT(refusal([] { static_cast<void>(detokenized(answer(R"({"text":1})"))); }), HasSubstr("text"));
}

}  // namespace
}  // namespace longrope
