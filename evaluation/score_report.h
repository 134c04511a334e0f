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
  std::string name;                   // as the command line has it
  std::vector<ScoredLength> lengths;  // at least one
};

/// What `longrope score` measured, and under what (schemas/score_report.md).
struct ScoreReport {
  Fitness fitness;
  std::string model;
  std::string device;
  std::string dtype;
  std::string angles;
  std::int64_t threads = 1;
  std::int64_t sliding_window = 0;     // tokens of the model's widest sliding window; 0: every layer saw everything
  bool timings = false;                // whether FitnessResult::phases are filled, and shown
  std::vector<ScoredFactors> factors;  // at least one
};

/// Writes a row for each document and a total, for each length under each factor set; gradients, where there are any,
/// of all documents together; with timings a table of phases.
void write_table(const ScoreReport& report, std::ostream& out);
/// Writes one JSON object.
void write_json(const ScoreReport& report, std::ostream& out);
/// CSV with a row for each block of kBlockTokens of each document.
[[nodiscard]] std::string by_position_csv(const ScoreReport& report);

}  // namespace longrope
