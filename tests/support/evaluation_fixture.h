#pragma once

#include "evaluation/evaluation_report.h"

#include <cmath>

namespace longrope {

/// A report of two methods with round numbers: perplexities 2 and 4 at 512 tokens, 2 and 8 in two blocks of 5,000, 4
/// and 16 by token and window in sliding windows, and pass keys at two depths.
inline EvaluationReport sample_evaluation() {
  const double two = std::log(2.0);
  EvaluationReport report;
  report.model = "tiny";
  report.model_digest = "aa";
  report.original_length = 512;
  report.reached_length = 1024;
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
    const double more = attention == 1.0 ? 1.0 : 2.0;
    const auto document = [&](const char* name) {
      return EvaluatedDocument{.name = name,
                               .score = {.nll_sum = more * 511.0 * two,
                                         .scored_tokens = 511,
                                         .blocks = {{more * 511.0 * two, 511}},
                                         .seconds = 17.5,
                                         .peak_memory_bytes = 99},
                               .windows = 1,
                               .window_means = more * two};
    };
    report.perplexity.push_back({.method = method,
                                 .length = 512,
                                 .attention_factor = attention,
                                 .documents = {document("one"), document("two")}});
    report.perplexity.push_back({.method = method,
                                 .length = 5000,
                                 .attention_factor = attention,
                                 .documents = {{.name = "one",
                                                .score = {.nll_sum = 5903.0 * two,
                                                          .scored_tokens = 4999,
                                                          .blocks = {{4095.0 * two, 4095}, {1808.0 * two, 904}}},
                                                .windows = 1,
                                                .window_means = 5903.0 * two / 4999.0}}});
  }
  for (const char* const method : {"base", "a|b"}) {
    report.perplexity.push_back(
        {.method = method,
         .length = 512,
         .window = 256,
         .stride = 128,
         .documents = {
             {.name = "one",
              .score = {.nll_sum = 511.0 * 2.0 * two, .scored_tokens = 511, .blocks = {{511.0 * 2.0 * two, 511}}},
              .windows = 3,
              .window_means = 12.0 * two}}});
  }
  for (const char* const method : {"base", "a|b"}) {
    report.retrieval.push_back({RetrievalKind::kPasskey, method, 512, 0.0, 9, 10});
    report.retrieval.push_back({RetrievalKind::kPasskey, method, 512, 0.25, 0, 7});
    report.retrieval.push_back({RetrievalKind::kPasskey, method, 1024, 0.25, 7, 7});
  }
  return report;
}

}  // namespace longrope
