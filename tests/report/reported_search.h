#pragma once

#include "coordinator/store/store.h"
#include "tests/coordinator/store/sample_search.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace longrope::sample {

/// What can be named freely: by whoever prepares documents, starts workers or names factor files.
struct Names {
  std::string document = "a";
  std::string worker = "w1";
  std::string run = "demo";
};

/// A finished search of two candidates, the second the winner, with the baselines PI and YaRN and three leases, one of
/// them lost. `delay_milliseconds` changes only what depends on time.
inline void write_search(const std::filesystem::path& file, const Names& names = {},
                         std::int64_t delay_milliseconds = 0) {
  RunRecord record = run();
  record.name = names.run;
  record.documents[0].name = names.document;
  std::vector<Write> writes;
  WorkerRecord scorer = worker();
  scorer.id = names.worker;
  scorer.seconds += static_cast<double>(delay_milliseconds);
  writes.emplace_back(scorer);
  CandidateRecord seed = candidate(1, 0, "f1");
  seed.origin = "seed:yarn";
  seed.search_mean_nll = 450.0 / 400.0;
  seed.evaluations = {1, 2};
  seed.heldout_mean_nll = 1.5;
  CandidateRecord child = candidate(2, 1, "f2");
  child.parents = {0};
  child.evaluations = {3, 4};
  child.search_mean_nll = 1.0;
  child.heldout_mean_nll = 1.25;
  CandidateRecord yarn = candidate(3, 0, "f3");
  yarn.role = CandidateRole::kBaseline;
  yarn.origin = "yarn";
  yarn.heldout_mean_nll = 1.75;
  CandidateRecord pi = candidate(4, 1, "f4");
  pi.role = CandidateRole::kBaseline;
  pi.origin = "pi";
  pi.heldout_mean_nll = 2.75;
  for (CandidateRecord* told : {&seed, &child, &yarn, &pi}) {
    told->state = CandidateState::kTold;
    told->told_at = 1'700'000'000'000 + delay_milliseconds;
    writes.emplace_back(*told);
  }
  for (EvaluationRecord evaluation :
       {scored(1, "f1", "d0", 120.0, 100), scored(2, "f1", "d1", 330.0, 300), scored(3, "f2", "d0", 100.0, 100),
        scored(4, "f2", "d1", 300.0, 300), scored(5, "f2", "h0", 62.5, 50)}) {
    evaluation.worker = names.worker;
    evaluation.result->seconds += static_cast<double>(delay_milliseconds) / 1000.0;
    writes.emplace_back(evaluation);
  }
  constexpr std::int64_t kStart = 1'700'000'000'000;
  for (std::int64_t number = 1; number <= 3; ++number) {
    LeaseRecord held = lease(number, 1);
    held.worker = names.worker;
    held.granted_at = kStart + number * 1000 + delay_milliseconds;
    held.ended_at = held.granted_at + 500 + delay_milliseconds;
    held.end = number == 3 ? LeaseEnd::kExpired : LeaseEnd::kScored;
    writes.emplace_back(held);
  }
  StageRecord stage = record.stages[0];
  stage.state = StageState::kFinished;
  stage.end = StageEnd::kBudget;
  stage.end_detail = "all 2 candidates of the budget told";
  stage.winner = 2;
  stage.active_milliseconds = 2500 + delay_milliseconds;
  writes.emplace_back(stage);
  Store store(file, record);
  store.apply(writes);
}

/// An evaluation of two methods at 512 and 16,384 tokens, with a passkey grid of one method.
inline nlohmann::json evaluation_report(const std::string& method = "yarn") {
  const auto perplexity = [](const std::string& name, std::int64_t length, double mean) {
    const double tokens = static_cast<double>(length) * 2.0;
    nlohmann::json blocks = nlohmann::json::array();
    for (std::int64_t from = 0; from < length; from += 4096) {
      const std::int64_t block_tokens = 2 * std::min<std::int64_t>(4096, length - from);
      blocks.push_back({mean * static_cast<double>(block_tokens), block_tokens});
    }
    return nlohmann::json({{"method", name},
                           {"length", length},
                           {"kind", "single"},
                           {"attention_factor", 1.0},
                           {"nll_sum", mean * tokens},
                           {"scored_tokens", 2 * length},
                           {"perplexity", std::exp(mean)},
                           {"blocks", blocks},
                           {"documents",
                            {{{"name", "a"}, {"nll_sum", (mean - 0.1) * tokens / 2.0}, {"scored_tokens", length}},
                             {{"name", "b"}, {"nll_sum", (mean + 0.1) * tokens / 2.0}, {"scored_tokens", length}}}}});
  };
  return {{"schema", "longrope-evaluation/1"},
          {"model", {{"name", "byte-llama"}, {"digest", "0123"}, {"original_length", 512}, {"reached_length", 512}}},
          {"documents", {{"file", "heldout.safetensors"}, {"count", 2}, {"digest", "4567"}}},
          {"dtype", "fp32"},
          {"angles", "fp64"},
          {"device", "cpu"},
          {"threads", 2},
          {"methods", {{{"name", "base"}}, {{"name", method}}}},
          {"perplexity",
           {perplexity("base", 512, 1.0), perplexity(method, 512, 1.25), perplexity("base", 16384, 3.0),
            perplexity(method, 16384, 1.5)}},
          {"retrieval",
           {{{"kind", "passkey"},
             {"method", method},
             {"length", 512},
             {"depth", 0.5},
             {"right", 9},
             {"answers", 10},
             {"accuracy", 0.9},
             {"interval", {0.555, 0.9975}}}}}};
}

}  // namespace longrope::sample
