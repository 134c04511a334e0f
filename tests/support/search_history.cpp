#include "tests/support/search_history.h"

#include <fmt/format.h>

#include <optional>

namespace longrope {
namespace {

std::string exact(const std::optional<double>& value) { return value ? fmt::format("{:a}", *value) : "-"; }

/// What the search asked for the candidate: kind and document, and of a told one the results.
std::string asked(const CandidateRecord& candidate, const std::vector<EvaluationRecord>& evaluations) {
  std::string text;
  for (const std::int64_t id : candidate.evaluations) {
    const EvaluationRecord& evaluation = evaluations.at(static_cast<std::size_t>(id - 1));
    text += fmt::format("{}:{}", to_string(evaluation.kind), evaluation.document_digest.substr(0, 8));
    if (candidate.state == CandidateState::kTold) {
      text += fmt::format("={:a}", evaluation.result->nll_sum);
      for (const double component : evaluation.result->gradient) text += fmt::format("/{:a}", component);
    }
    text += ',';
  }
  return text;
}

}  // namespace

std::vector<std::string> search_history(const Snapshot& snapshot) {
  std::vector<std::string> history;
  for (const StageRecord& stage : snapshot.stages) {
    std::string winner = "-";
    std::vector<std::string> baselines;
    for (const CandidateRecord& candidate : snapshot.candidates) {
      if (candidate.stage != stage.id) continue;
      if (stage.winner == candidate.id) winner = std::to_string(candidate.index);
      if (candidate.state == CandidateState::kCancelled) continue;
      std::string parents;
      for (const std::int64_t parent : candidate.parents) parents += std::to_string(parent) + ",";
      std::string line = fmt::format(
          "stage {} role {} k {} {} parents {} rung {} asked {} factors {} state {} search {} heldout {} "
          "final {}",
          stage.id, static_cast<int>(candidate.role), candidate.index, candidate.origin, parents, candidate.rung,
          asked(candidate, snapshot.evaluations), candidate.factors_digest, static_cast<int>(candidate.state),
          exact(candidate.search_mean_nll), exact(candidate.heldout_mean_nll), exact(candidate.final_mean_nll));
      (candidate.role == CandidateRole::kBaseline ? baselines : history).push_back(std::move(line));
    }
    history.insert(history.end(), baselines.begin(), baselines.end());
    history.push_back(fmt::format("stage {} state {} end {} ({}) winner {}", stage.id, static_cast<int>(stage.state),
                                  stage.end ? static_cast<int>(*stage.end) : 0, stage.end_detail, winner));
  }
  return history;
}

}  // namespace longrope
