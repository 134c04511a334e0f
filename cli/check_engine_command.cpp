#include "cli/command.h"
#include "cli/engine_process.h"
#include "cli/model_argument.h"
#include "cli/scoring_arguments.h"
#include "common/error.h"
#include "common/formats/named_factors.h"
#include "evaluation/engines/curl_client.h"
#include "evaluation/engines/engine_questions.h"
#include "evaluation/engines/engine_verdict.h"
#include "worker/scoring/perplexity_scorer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

constexpr const char* kKeyVariable = "LONGROPE_ENGINE_KEY";

struct CheckEngineArguments {
  ScoringArguments scoring;
  std::int64_t length = 0;
  std::string factors;
  std::string attention_factor;
  std::string url;
  std::string api;
  std::string served_model;
  std::int64_t timeout_seconds = 600;
  std::string run;
  std::string python = "python3";
  double tolerance = kEngineTolerance;
  bool json = false;
};

/// What an engine says of the first tokens of a document.
struct EngineAnswer {
  std::string asked_by;                 // for people
  std::vector<std::int64_t> positions;  // tokens that the sum is of
  double nll_sum = 0.0;                 // nats
};

/// The first document that is long enough, cut to the length and without its mask: engines know none.
Document document_to_ask(const CheckEngineArguments& arguments) {
  for (Document& document : documents_to_score(arguments.scoring)) {
    if (static_cast<std::int64_t>(document.tokens.size()) < arguments.length) continue;
    document.tokens.resize(static_cast<std::size_t>(arguments.length));
    document.scored.clear();
    return std::move(document);
  }
  throw InputError(fmt::format("a document must have {} tokens: none has so many ({})", arguments.length,
                               arguments.scoring.documents));
}

EngineAnswer answer_of_server(const CheckEngineArguments& arguments, const Document& document,
                              std::int64_t vocabulary) {
  const char* const key = std::getenv(kKeyVariable);
  CurlClient engine(arguments.url,
                    {.key = key == nullptr ? "" : key, .timeout = std::chrono::seconds(arguments.timeout_seconds)});
  const EngineApi api = arguments.api.empty() ? recognized_api(engine) : parse_engine_api(arguments.api);
  const EngineNll answer = ask_engine(
      engine, api, {.tokens = document.tokens, .vocabulary = vocabulary, .served_model = arguments.served_model});
  return {.asked_by = fmt::format("the API {} at {}", to_string(api), arguments.url),
          .positions = answer.positions,
          .nll_sum = std::accumulate(answer.nll.begin(), answer.nll.end(), 0.0)};
}

EngineAnswer answer_of_process(const CheckEngineArguments& arguments, const Document& document) {
  const EngineProcessNll answer = run_engine({.python = arguments.python,
                                              .model = arguments.run,
                                              .documents = arguments.scoring.documents,
                                              .document = document.name,
                                              .length = arguments.length,
                                              .threads = arguments.scoring.threads});
  std::vector<std::int64_t> positions(static_cast<std::size_t>(arguments.length - 1));
  std::iota(positions.begin(), positions.end(), 1);
  return {.asked_by = fmt::format("{} on {}", answer.engine, arguments.run),
          .positions = std::move(positions),
          .nll_sum = answer.nll_sum};
}

/// Counts the tokens at `positions` and no others.
Document masked(Document document, const std::vector<std::int64_t>& positions) {
  document.scored.assign(document.tokens.size(), 0);
  for (const std::int64_t position : positions) document.scored[static_cast<std::size_t>(position)] = 1;
  return document;
}

double mean(double nll_sum, std::int64_t tokens) { return nll_sum / static_cast<double>(tokens); }

EngineComparison compare(const CheckEngineArguments& arguments) {
  const ModelDescription model = described_model(arguments.scoring.model, arguments.scoring.reached_length);
  const std::array<std::string, 2> names = {arguments.factors, "none"};
  const std::array<RescaleFactors, 2> factors = {
      named_factors(arguments.factors, arguments.attention_factor, model, arguments.length),
      named_factors("none", "", model, arguments.length)};
  Document document = document_to_ask(arguments);
  require_scorable({&document, 1}, arguments.scoring.documents, arguments.length, model.vocabulary);
  PerplexityScorer scorer(arguments.scoring.model, scorer_options(arguments.scoring));

  // The engine first: whether it can be asked shows in a moment.
  const EngineAnswer answer = arguments.run.empty() ? answer_of_server(arguments, document, model.vocabulary)
                                                    : answer_of_process(arguments, document);
  document = masked(std::move(document), answer.positions);
  const ScoringTask task = {.factors = factors, .names = names, .document = &document, .length = arguments.length};
  const TaskResults ours = measure_tasks(scorer, {&task, 1}, expected_progress(scorer, {&task, 1})).front();
  const auto scored = static_cast<std::int64_t>(answer.positions.size());
  return {.document = document.name,
          .length = arguments.length,
          .scored_tokens = scored,
          .api = answer.asked_by,
          .engine = mean(answer.nll_sum, scored),
          .with_factors = mean(ours[0].score.nll_sum, ours[0].score.scored_tokens),
          .without_factors = mean(ours[1].score.nll_sum, ours[1].score.scored_tokens),
          .tolerance = arguments.tolerance};
}

/// Exit code 1 says that the engine does not apply the factors: what has failed leaves with the other one.
EngineComparison compared(const CheckEngineArguments& arguments) {
  try {
    return compare(arguments);
  } catch (const std::exception& error) {
    throw InputError(error.what());
  }
}

void check_engine(const CheckEngineArguments& arguments) {
  if (arguments.url.empty() == arguments.run.empty()) {
    throw InputError("an engine must be asked at an address or run on a model, one of the two: --url or --run");
  }
  const EngineComparison comparison = compared(arguments);
  if (arguments.json) {
    std::cout << verdict_json(comparison).dump(2) << '\n';
  } else {
    std::cout << verdict_text(comparison);
  }
  switch (judge(comparison)) {
    case EngineVerdict::kApplies:
      return;
    case EngineVerdict::kIgnores:
    case EngineVerdict::kNeither:
      throw CLI::RuntimeError(kExitFailure);
    case EngineVerdict::kCannotTell:
      throw CLI::RuntimeError(kExitBadInput);
  }
}

void add_engine_options(CLI::App& command, CheckEngineArguments& arguments) {
  auto* url =
      command.add_option("--url", arguments.url,
                         fmt::format("Address of the running engine, as in http://127.0.0.1:8000; a key that it "
                                     "asks for is read from the environment, {}",
                                     kKeyVariable));
  command
      .add_option("--api", arguments.api,
                  "How to ask it: completions (vLLM, SGLang), llama.cpp or llama-cpp-python [what it answers to]")
      ->check(CLI::IsMember({"completions", "llama.cpp", "llama-cpp-python"}))
      ->needs(url);
  command.add_option("--served-model", arguments.served_model, "The model's name there [the only one]")->needs(url);
  command.add_option("--timeout", arguments.timeout_seconds, "Seconds that one answer may take")
      ->check(CLI::Range(1, 86400))
      ->needs(url)
      ->capture_default_str();
  auto* run = command
                  .add_option("--run", arguments.run,
                              "Run an engine instead: transformers on this directory, or llama.cpp on this .gguf "
                              "file")
                  ->excludes(url);
  command.add_option("--python", arguments.python, "Python that has the package transformers, or llama_cpp")
      ->needs(run)
      ->capture_default_str();
}

}  // namespace

void add_check_engine_command(CLI::App& app) {
  auto* command = app.add_subcommand("check-engine", "Measure whether an inference engine applies the factors");
  auto arguments = std::make_shared<CheckEngineArguments>();
  add_scoring_options(*command, arguments->scoring);
  command->remove_option(command->get_option("--count"));  // one document is enough
  in_tokens(command->add_option("--length", arguments->length,
                                "Tokens of the first document that has so many; they should be more than the model "
                                "reaches without the factors"))
      ->required()
      ->check(CLI::Range(std::int64_t{3}, std::int64_t{1} << 31));
  command->add_option("--factors", arguments->factors, fmt::format("What the engine should apply: {}", kFactorsHelp))
      ->required();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  add_engine_options(*command, *arguments);
  command
      ->add_option(
          "--tolerance", arguments->tolerance,
          "Nats per token by which the engine's NLL may differ from ours: rounding and quantization. Ours with "
          "and without the factors must differ by more than twice as much")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "Print JSON instead of text");
  command->footer(
      "Exit codes: 0 it applies them, 1 it does not, 2 no verdict (bad input, no answer, or this document cannot "
      "tell).\n"
      "Examples:\n  longrope check-engine --model DIR --documents books.safetensors --length 8192 --factors best.json "
      "--url http://127.0.0.1:8000\n"
      "  longrope check-engine --model DIR --documents books.safetensors --length 8192 --factors best.json "
      "--run my-llama-8k --python .venv/bin/python");
  command->callback([=] { check_engine(*arguments); });
}

}  // namespace longrope
