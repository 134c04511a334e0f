#include "evaluation/evaluation_json.h"
#include "tests/fuzz/fuzz_target.h"

#include <cmath>

void longrope::read_hostile_input(std::string_view input) {
  const EvaluationReport report = read_evaluation_report(hostile_file("evaluation", input));
  for (const PerplexityResult& row : report.perplexity) {
    require_promise(row.length > 0 && row.scored_tokens > 0, "lengths and counts are positive");
    require_promise(std::isfinite(row.perplexity()) && row.perplexity() >= 1.0, "what is drawn is finite");
    if (row.sliding) {
      require_promise(row.sliding->window <= row.length && row.sliding->stride <= row.sliding->window,
                      "windows lie in their documents");
    }
    for (const ScoredBlock& block : row.blocks) {
      require_promise(block.nll_sum >= 0.0 && block.scored_tokens >= 0, "blocks are not negative");
    }
  }
  for (const RetrievalResult& row : report.retrieval) {
    require_promise(0 <= row.right && row.right <= row.answers, "no more is right than was asked");
    require_promise(row.depth >= 0.0 && row.interval.low <= row.interval.high, "shares are in order");
  }
  // What a report says of itself is what is read from it.
  require_promise(read_evaluation_report(hostile_file("evaluation", to_json(report))) == report,
                  "a report that is written is read back");
}
