#include "coordinator/core/stage_run.h"

#include "common/error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace longrope {
namespace {

Trajectory make_trajectory(const SearchPlan& plan, const PlannedStage& stage) {
  const SearchConfig& search = stage.config.search;
  // As many open candidates as one generation or the lag can use; more would only be thrown away at the end.
  const std::int64_t max_open = std::max({search.population_size, search.num_mutations + search.num_crossovers,
                                          search.generational ? std::int64_t{1} : search.lag});
  return Trajectory(make_search_algorithm(search, stage.space, plan.seed, stage.config.name), stage.config.stop,
                    stage.budget, static_cast<std::size_t>(max_open));
}

}  // namespace

StageRun::StageRun(const SearchPlan& plan, std::size_t stage_index, EvaluationTable& evaluations,
                   std::int64_t& next_candidate_id)
    : plan_(plan),
      stage_index_(stage_index),
      evaluations_(evaluations),
      next_candidate_id_(next_candidate_id),
      trajectory_(make_trajectory(plan, plan.stages[stage_index])) {
  record_.id = static_cast<std::int64_t>(stage_index) + 1;
  record_.name = planned().config.name;
  record_.target_length = planned().config.target_length;
  record_.budget = static_cast<std::int64_t>(planned().budget);
}

void StageRun::restore(const StageRecord& stage, std::vector<CandidateRecord> candidates) {
  record_ = stage;
  for (CandidateRecord& candidate : candidates) {
    if (candidate.role == CandidateRole::kBaseline) {
      baselines_.push_back(std::move(candidate));
    } else if (stage.state == StageState::kSearching) {
      stored_.push_back(std::move(candidate));
    } else {
      search_.push_back(std::move(candidate));
    }
  }
  if (stage.state != StageState::kChoosing) return;
  // What is already requested is found again by its hash. Evaluations that were cancelled with a failed one are pending
  // for a moment: the next advance() settles their candidate and cancels them again, so these writes are not needed.
  const std::int64_t known = evaluations_.size();
  Effects unneeded;
  request_heldout(unneeded);
  if (evaluations_.size() != known) {
    throw Error("the database lacks evaluations that stage " + stage.name + " had asked for");
  }
}

void StageRun::advance(const Now& now, Effects& effects) {
  if (record_.state == StageState::kPending) {
    record_.state = StageState::kSearching;
    record_.started_at = now.unix_milliseconds;
    write_stage(effects);
  }
  if (record_.state == StageState::kSearching) {
    settle_all(now, effects);
    // Replayed candidates bring their results with them, so one round may enable the next.
    while (!trajectory_.end() && ask_candidates(effects)) settle_all(now, effects);
    // Only now: in the first round after a restart nothing was told before.
    if (const auto left = time_left(); left && left->count() <= 0) trajectory_.stop_for_time();
    mark_told(now, effects);
    if (trajectory_.end()) end_search(now, effects);
  }
  if (record_.state == StageState::kChoosing) {
    settle_all(now, effects);
    if (open_scorings_.empty()) choose(now, effects);
  }
}

void StageRun::add_active_time(std::chrono::milliseconds elapsed) {
  if (record_.state == StageState::kPending || record_.state == StageState::kFinished) return;
  record_.active_milliseconds += elapsed.count();
}

std::size_t StageRun::told() const {
  return static_cast<std::size_t>(std::ranges::count_if(search_, [](const CandidateRecord& candidate) {
    return candidate.state == CandidateState::kTold || candidate.state == CandidateState::kQuarantined;
  }));
}

std::optional<std::size_t> StageRun::best() const {
  const std::vector<std::size_t> ranked = finalists();
  return ranked.empty() ? std::nullopt : std::optional(ranked.front());
}

std::optional<std::chrono::milliseconds> StageRun::time_left() const {
  if (record_.state != StageState::kSearching || !planned().config.stop.time_limit) return std::nullopt;
  return std::chrono::milliseconds(*planned().config.stop.time_limit) -
         std::chrono::milliseconds(record_.active_milliseconds);
}

std::vector<CandidateRecord>& StageRun::candidates(CandidateRole role) {
  return role == CandidateRole::kSearch ? search_ : baselines_;
}

bool StageRun::ask_candidates(Effects& effects) {
  bool asked = false;
  while (std::optional<Candidate> proposal = trajectory_.next()) {
    asked = true;
    const std::size_t index = search_.size();
    std::string factors_digest = digest(proposal->factors);
    if (index < stored_.size()) {
      adopt_stored(index, factors_digest);
    } else {
      CandidateRecord& candidate = search_.emplace_back();
      candidate.id = next_candidate_id_++;
      candidate.stage = record_.id;
      candidate.index = static_cast<std::int64_t>(index);
      candidate.origin = std::move(proposal->origin);
      candidate.parents.assign(proposal->parents.begin(), proposal->parents.end());
      candidate.factors = std::move(proposal->factors);
      candidate.factors_digest = std::move(factors_digest);
      effects.writes.emplace_back(candidate);
    }
    request(Purpose::kSearch, CandidateRole::kSearch, index, effects);
  }
  return asked;
}

void StageRun::adopt_stored(std::size_t index, const std::string& factors_digest) {
  if (stored_[index].factors_digest != factors_digest) {
    throw Error("the search does not propose the stored candidates again: candidate " + std::to_string(index) +
                " of stage " + record_.name + " is " + stored_[index].factors_digest + " in the database, now " +
                factors_digest);
  }
  search_.push_back(std::move(stored_[index]));
}

void StageRun::request(Purpose purpose, CandidateRole role, std::size_t index, Effects& effects) {
  const CandidateRecord& candidate = candidates(role)[index];
  Scoring scoring{purpose, role, index, {}};
  for (const PlannedDocument& document : purpose == Purpose::kSearch ? planned().search : planned().heldout) {
    EvaluationRecord evaluation;
    evaluation.factors_digest = candidate.factors_digest;
    evaluation.document_digest = document.digest;
    evaluation.length = record_.target_length;
    evaluation.hash = evaluation_hash(plan_, evaluation.kind, evaluation.factors_digest, evaluation.document_digest,
                                      evaluation.length);
    scoring.evaluations.push_back(evaluations_.need(std::move(evaluation), effects));
  }
  open_scorings_.push_back(std::move(scoring));
}

void StageRun::settle_all(const Now& now, Effects& effects) {
  std::erase_if(open_scorings_, [&](const Scoring& scoring) { return settle(scoring, now, effects); });
}

bool StageRun::settle(const Scoring& scoring, const Now& now, Effects& effects) {
  const auto in_state = [&](EvaluationState state) {
    return [this, state](std::int64_t id) { return evaluations_.at(id).state == state; };
  };
  CandidateRecord& candidate = candidates(scoring.role)[scoring.index];
  double mean_nll = std::numeric_limits<double>::infinity();
  if (std::ranges::any_of(scoring.evaluations, in_state(EvaluationState::kFailed))) {
    for (const std::int64_t id : scoring.evaluations) {
      if (auto lease = evaluations_.cancel(id, now, effects)) effects.revoked.push_back(*lease);
    }
  } else if (std::ranges::all_of(scoring.evaluations, in_state(EvaluationState::kScored))) {
    double nll_sum = 0.0;
    std::int64_t scored_tokens = 0;
    for (const std::int64_t id : scoring.evaluations) {
      nll_sum += evaluations_.at(id).result->nll_sum;
      scored_tokens += evaluations_.at(id).result->scored_tokens;
    }
    mean_nll = nll_sum / static_cast<double>(scored_tokens);
  } else {
    return false;
  }
  if (scoring.purpose == Purpose::kSearch) {
    // Written when it is told, in index order.
    if (std::isfinite(mean_nll)) candidate.search_mean_nll = mean_nll;
    trajectory_.give(scoring.index, mean_nll);
  } else {
    if (std::isfinite(mean_nll)) candidate.heldout_mean_nll = mean_nll;
    if (scoring.role == CandidateRole::kBaseline) {
      candidate.state = std::isfinite(mean_nll) ? CandidateState::kTold : CandidateState::kQuarantined;
      candidate.told_at = now.unix_milliseconds;
    }
    effects.writes.emplace_back(candidate);
  }
  return true;
}

void StageRun::mark_told(const Now& now, Effects& effects) {
  const std::size_t before = marked_;
  for (; marked_ < trajectory_.accepted(); ++marked_) {
    CandidateRecord& candidate = search_[marked_];
    if (candidate.state != CandidateState::kOpen) continue;  // told by an earlier process
    candidate.state = candidate.search_mean_nll ? CandidateState::kTold : CandidateState::kQuarantined;
    candidate.told_at = now.unix_milliseconds;
    effects.writes.emplace_back(candidate);
  }
  if (marked_ != before) write_stage(effects);  // with the time spent
}

void StageRun::end_search(const Now& now, Effects& effects) {
  record_.end = trajectory_.end();
  record_.end_detail = trajectory_.end_detail();
  for (std::size_t index = trajectory_.accepted(); index < search_.size(); ++index) {
    search_[index].state = CandidateState::kCancelled;
    effects.writes.emplace_back(search_[index]);
  }
  for (const Scoring& scoring : open_scorings_) {
    for (const std::int64_t id : scoring.evaluations) {
      if (auto lease = evaluations_.cancel(id, now, effects)) effects.revoked.push_back(*lease);
    }
  }
  open_scorings_.clear();
  record_.state = StageState::kChoosing;
  write_stage(effects);
  add_baselines(effects);
  request_heldout(effects);
}

std::vector<std::size_t> StageRun::finalists() const {
  std::vector<std::size_t> ranked;
  for (std::size_t index = 0; index < search_.size(); ++index) {
    if (search_[index].state == CandidateState::kTold) ranked.push_back(index);
  }
  std::ranges::stable_sort(ranked, {}, [&](std::size_t index) { return *search_[index].search_mean_nll; });
  ranked.resize(std::min(ranked.size(), static_cast<std::size_t>(planned().config.finalists)));
  return ranked;
}

void StageRun::add_baselines(Effects& effects) {
  for (const char* name : kBaselines) {
    CandidateRecord& baseline = baselines_.emplace_back();
    baseline.id = next_candidate_id_++;
    baseline.stage = record_.id;
    baseline.role = CandidateRole::kBaseline;
    baseline.index = static_cast<std::int64_t>(baselines_.size()) - 1;
    baseline.origin = name;
    baseline.factors = extended_factors(name, planned().space.geometry, planned().carried, record_.target_length);
    baseline.factors_digest = digest(baseline.factors);
    effects.writes.emplace_back(baseline);
  }
}

void StageRun::request_heldout(Effects& effects) {
  for (const std::size_t index : finalists()) request(Purpose::kHeldout, CandidateRole::kSearch, index, effects);
  for (std::size_t index = 0; index < baselines_.size(); ++index) {
    request(Purpose::kHeldout, CandidateRole::kBaseline, index, effects);
  }
}

void StageRun::choose(const Now& now, Effects& effects) {
  double lowest = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> by_index = finalists();
  std::ranges::sort(by_index);
  for (const std::size_t index : by_index) {
    const auto& mean_nll = search_[index].heldout_mean_nll;
    if (mean_nll && *mean_nll < lowest) {
      lowest = *mean_nll;
      record_.winner = search_[index].id;
    }
  }
  record_.state = StageState::kFinished;
  record_.ended_at = now.unix_milliseconds;
  write_stage(effects);
}

}  // namespace longrope
