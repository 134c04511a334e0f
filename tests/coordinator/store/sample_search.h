#pragma once

#include "coordinator/store/store.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longrope::sample {

/// A fresh directory for one test.
inline std::filesystem::path fresh_directory() {
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / (std::string(test.test_suite_name()) + "_" + test.name());
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  return directory;
}

/// One stage with two search documents (100 and 300 scored tokens) and one held-out document.
inline RunRecord run() {
  RunRecord record;
  record.name = "demo";
  record.seed = 18'446'744'073'709'551'615U;
  record.config_file = "demo.toml";
  record.config_text = "name = \"demo\"\n";
  record.trajectory_settings = R"({"seed":7,"stages":[{"name":"128k","search":{"lag":16,"method":"longrope"}}]})";
  record.model_name = "byte-llama";
  record.model_digest = "model-digest";
  record.dtype = "fp32";
  record.angles = "fp64";
  record.software_version = "0.1.0";
  StageRecord stage;
  stage.id = 1;
  stage.name = "128k";
  stage.target_length = 8192;
  stage.budget = 4;
  record.stages = {stage};
  record.documents = {
      {.digest = "d0", .name = "a", .file = "x", .tokens = 9000, .stage = 1, .order = 0, .scored_tokens = 100},
      {.digest = "d1", .name = "b", .file = "x", .tokens = 9000, .stage = 1, .order = 1, .scored_tokens = 300},
      {.digest = "h0",
       .name = "c",
       .file = "y",
       .tokens = 9000,
       .stage = 1,
       .purpose = DocumentPurpose::kHeldout,
       .scored_tokens = 50}};
  return record;
}

inline CandidateRecord candidate(std::int64_t id, std::int64_t k, const std::string& digest) {
  CandidateRecord record;
  record.id = id;
  record.stage = 1;
  record.index = k;
  record.origin = "mutation";
  // Values whose shortest decimals are long: a rounded column would not read back equal.
  record.factors = {.lambda = {1.0, std::nextafter(1.1, 2.0), 1.0 + static_cast<double>(id) / 3.0},
                    .grid_steps = {},
                    .steps_per_unit = 0,
                    .n_hat = id,
                    .attention = {AttentionPolicy::kSu, 1.1902380714238083}};
  record.factors_digest = digest;
  return record;
}

inline LeaseRecord lease(std::int64_t evaluation, std::int64_t epoch) {
  LeaseRecord record;
  record.evaluation = evaluation;
  record.epoch = epoch;
  record.worker = "w1";
  record.incarnation = "i7";
  record.granted_at = 77;
  return record;
}

inline WorkerRecord worker() {
  WorkerRecord record;
  record.id = "w1";
  record.incarnation = "i7";
  record.host = "node-1";
  record.device = "cpu";
  record.threads = 2;
  record.results = 3;
  record.seconds = 0.1 + 0.7;  // not a short decimal
  record.last_seen_at = 99;
  return record;
}

inline EvaluationRecord evaluation(std::int64_t id, const std::string& factors, const std::string& document) {
  EvaluationRecord record;
  record.id = id;
  record.hash = "hash-" + factors + "-" + document;
  record.factors_digest = factors;
  record.document_digest = document;
  record.length = 8192;
  return record;
}

inline EvaluationRecord scored(std::int64_t id, const std::string& factors, const std::string& document, double nll_sum,
                               std::int64_t tokens) {
  EvaluationRecord record = evaluation(id, factors, document);
  record.state = EvaluationState::kScored;
  record.epoch = 1;
  record.worker = "w1";
  record.scored_at = 1'700'000'000'123;
  record.result = ScoreResult{.nll_sum = nll_sum,
                              .scored_tokens = tokens,
                              .blocks = {{nll_sum / 3.0, tokens - 1}, {nll_sum - nll_sum / 3.0, 1}},
                              .seconds = 0.1,
                              .peak_memory_bytes = 1 << 20};
  return record;
}

/// The same with the gradient of its NLL sum: of three pairs, then of m.
inline EvaluationRecord differentiated(std::int64_t id, const std::string& factors, const std::string& document,
                                       double nll_sum, std::int64_t tokens) {
  EvaluationRecord record = scored(id, factors, document, nll_sum, tokens);
  record.kind = EvaluationKind::kGradient;
  record.hash += "-gradient";
  record.cost_passes = 3.5;
  record.result->gradient = {0.0, -0.0, nll_sum / 3.0, std::nextafter(-1.1, 0.0)};
  return record;
}

}  // namespace longrope::sample
