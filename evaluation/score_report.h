#pragma once

#include "worker/scoring/fitness.h"

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace longrope {

struct ScoredDocument {
  std::string name;
  FitnessResult result;
};

struct ScoredLength {
  std::int64_t length = 0;        // tokens of each document
  double attention_factor = 1.0;  // closed forms depend on the length
  std::vector<ScoredDocument> documents;
};

struct ScoredFactors {
  std::string name;                   // as they were named on the command line
  std::vector<ScoredLength> lengths;  // at least one
};

/// What `longrope score` found, and under what.
struct ScoreReport {
  Fitness fitness;
  std::string model;
  std::string device;
  std::string dtype;
  std::string angles;
  std::int64_t threads = 1;
  std::int64_t sliding_window = 0;     // the widest that was kept to; 0: none
  bool timings = false;                // whether FitnessResult::phases was asked for
  std::vector<ScoredFactors> factors;  // at least one
};

/// A row for each document and a total for each length under each factor set; with timings, a table of phases.
void write_table(const ScoreReport& report, std::ostream& out);
/// schemas/score_report.md
void write_json(const ScoreReport& report, std::ostream& out);
/// CSV with a row for each block of kBlockTokens of each document; schemas/score_report.md.
[[nodiscard]] std::string by_position_csv(const ScoreReport& report);

}  // namespace longrope
