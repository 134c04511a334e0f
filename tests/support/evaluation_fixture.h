#pragma once

#include "evaluation/evaluation_report.h"

#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>

namespace longrope {

/// A report of two methods with round numbers: perplexities 2 and 4 at 512 tokens, 2 and 4 in the two blocks of 5,000,
/// 4 and 16 by token and window in sliding windows, and pass keys at two depths.
inline EvaluationReport sample_evaluation() {
  const double two = std::log(2.0);
  EvaluationReport report;
  report.model = {.name = "tiny", .digest = "aa", .original_length = 512, .reached_length = 1024};
  report.documents = {.file = "books.safetensors", .count = 2, .digest = "bb"};
  report.retrieval_files = {
      {.kind = RetrievalKind::kPasskey, .documents = {.file = "keys.safetensors", .count = 8, .digest = "cc"}}};
  report.dtype = "fp32";
  report.angles = "fp64";
  report.device = "a machine";
  report.threads = 2;
  report.methods = {{.name = "base", .file = "", .factors = {{512, "d0", 1.0}, {5000, "d0", 1.0}}},
                    {.name = "a|b", .file = "a|b.json", .factors = {{512, "d1", 1.25}, {5000, "d1", 1.25}}}};
  for (const auto& [method, attention] : {std::pair{"base", 1.0}, std::pair{"a|b", 1.25}}) {
    const double one = (attention == 1.0 ? 1.0 : 2.0) * 511.0 * two;  // NLL of each document
    report.perplexity.push_back({.method = method,
                                 .length = 512,
                                 .sliding = std::nullopt,
                                 .attention_factor = attention,
                                 .nll_sum = 2.0 * one,
                                 .scored_tokens = 1022,
                                 .blocks = {{2.0 * one, 1022}},
                                 .documents = {{"one", one, 511}, {"two", one, 511}}});
    report.perplexity.push_back({.method = method,
                                 .length = 5000,
                                 .sliding = std::nullopt,
                                 .attention_factor = attention,
                                 .nll_sum = 5903.0 * two,
                                 .scored_tokens = 4999,
                                 .blocks = {{4095.0 * two, 4095}, {1808.0 * two, 904}},
                                 .documents = {{"one", 5903.0 * two, 4999}}});
  }
  for (const char* const method : {"base", "a|b"}) {
    report.perplexity.push_back(
        {.method = method,
         .length = 512,
         .sliding = SlidingWindows{.window = 256, .stride = 128, .windows = 3, .ppl_yarn = std::exp(4.0 * two)},
         .nll_sum = 1022.0 * two,
         .scored_tokens = 511,
         .blocks = {{1022.0 * two, 511}},
         .documents = {{"one", 1022.0 * two, 511}}});
  }
  for (const char* const method : {"base", "a|b"}) {
    const auto cell = [&](std::int64_t length, double depth, std::int64_t right, std::int64_t answers) {
      report.retrieval.push_back({.kind = RetrievalKind::kPasskey,
                                  .method = method,
                                  .length = length,
                                  .depth = depth,
                                  .right = right,
                                  .answers = answers,
                                  .interval = binomial_interval(right, answers)});
    };
    cell(512, 0.0, 9, 10);
    cell(512, 0.25, 0, 7);
    cell(1024, 0.25, 7, 7);
  }
  return report;
}

}  // namespace longrope
