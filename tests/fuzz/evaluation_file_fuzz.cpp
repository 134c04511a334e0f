#include "evaluation/evaluation_file.h"
#include "tests/fuzz/fuzz_target.h"

#include <cmath>

void longrope::read_hostile_input(std::string_view input) {
  const EvaluationFile report = read_evaluation_file(hostile_file("evaluation", input));
  for (const EvaluationFile::Perplexity& row : report.perplexity) {
    require_promise(row.length > 0 && row.scored_tokens > 0, "lengths and counts are positive");
    require_promise(std::isfinite(row.nll_sum) && row.perplexity >= 1.0, "what is drawn is finite");
    for (const ScoredBlock& block : row.blocks) {
      require_promise(block.nll_sum >= 0.0 && block.scored_tokens >= 0, "blocks are not negative");
    }
  }
  for (const EvaluationFile::Retrieval& row : report.retrieval) {
    require_promise(0 <= row.right && row.right <= row.answers, "no more is right than was asked");
    require_promise(row.depth >= 0.0 && row.interval_low <= row.interval_high, "shares are in order");
  }
}
