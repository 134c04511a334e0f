#include "coordinator/core/stage_run.h"

#include "common/error.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <utility>

namespace longrope {
namespace {

std::unique_ptr<SearchAlgorithm> configured_algorithm(const SearchPlan& plan, const PlannedStage& stage) {
  return make_search_algorithm(stage.config.search, stage.space, resources_of(stage), plan.seed, stage.config.name);
}

Trajectory make_trajectory(const PlannedStage& stage, std::unique_ptr<SearchAlgorithm> algorithm) {
  const SearchConfig& search = stage.config.search;
  // As many open candidates as one generation or the lag can use; more would only be thrown away at the end.
  const std::int64_t max_open = std::max({search.population_size, search.num_mutations + search.num_crossovers,
                                          search.generational ? std::int64_t{1} : search.lag});
  return Trajectory(std::move(algorithm), stage.config.stop, stage.budget,
                    search.method == SearchMethod::kGradient ? stage.budget : static_cast<std::size_t>(max_open));
}

}  // namespace

StageRun::StageRun(const SearchPlan& plan, std::size_t stage_index, EvaluationTable& evaluations,
                   std::int64_t& next_candidate_id)
    : StageRun(plan, stage_index, evaluations, next_candidate_id,
               configured_algorithm(plan, plan.stages[stage_index])) {}

StageRun::StageRun(const SearchPlan& plan, std::size_t stage_index, EvaluationTable& evaluations,
                   std::int64_t& next_candidate_id, std::unique_ptr<SearchAlgorithm> algorithm)
    : plan_(plan),
      stage_index_(stage_index),
      evaluations_(evaluations),
      next_candidate_id_(next_candidate_id),
      trajectory_(make_trajectory(plan.stages[stage_index], std::move(algorithm))) {
  record_.id = static_cast<std::int64_t>(stage_index) + 1;
  record_.name = planned().config.name;
  record_.target_length = planned().config.target_length;
  record_.budget = static_cast<std::int64_t>(planned().budget);
  record_.judging_evaluations = judging_needed();
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
  if (stage.state == StageState::kFinished) return;
  record_.judging_evaluations = judging_needed();
  if (stage.state != StageState::kChoosing) return;
  // What is already requested is found again by its hash. Evaluations that were cancelled with a failed one are pending
  // for a moment: the next advance() settles their candidate and cancels them again, so these writes are not needed.
  const std::int64_t known = evaluations_.size();
  Effects unneeded;
  if (record_.winner) {
    request_judging(unneeded);
  } else {
    request_heldout(unneeded);
  }
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
    if (open_scorings_.empty() && !record_.winner) {
      choose(effects);
      settle_all(now, effects);  // an earlier stage may have scored the same
    }
    if (open_scorings_.empty()) finish(now, effects);
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

std::int64_t StageRun::search_left() const {
  if (record_.state != StageState::kPending && record_.state != StageState::kSearching) return 0;
  const std::int64_t not_asked = std::max<std::int64_t>(record_.budget - std::ssize(search_), 0);
  const bool one_by_one = planned().config.search.method == SearchMethod::kGradient;
  return not_asked * (one_by_one ? 1 : std::ssize(planned().search)) + open_evaluations();
}

bool StageRun::may_end_early() const {
  return planned().config.stop.patience.has_value() || planned().config.stop.time_limit.has_value();
}

std::int64_t StageRun::open_evaluations() const {
  std::int64_t open = 0;
  for (const Scoring& scoring : open_scorings_) {
    open += std::ranges::count_if(
        scoring.evaluations, [this](std::int64_t id) { return evaluations_.at(id).state != EvaluationState::kScored; });
  }
  return open;
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
    const bool is_stored = index < stored_.size();
    if (is_stored) {
      adopt_stored(index, factors_digest);
    } else {
      CandidateRecord& candidate = search_.emplace_back();
      candidate.id = next_candidate_id_++;
      candidate.stage = record_.id;
      candidate.index = static_cast<std::int64_t>(index);
      candidate.origin = std::move(proposal->origin);
      candidate.parents.assign(proposal->parents.begin(), proposal->parents.end());
      candidate.rung = proposal->rung;
      candidate.factors = std::move(proposal->factors);
      candidate.factors_digest = std::move(factors_digest);
    }
    const std::vector<std::int64_t> stored_evaluations = search_[index].evaluations;
    request_search(index, proposal->requests, effects);
    if (!is_stored) {
      effects.writes.emplace_back(search_[index]);
    } else if (search_[index].evaluations != stored_evaluations || search_[index].rung != proposal->rung) {
      throw Error("the search does not ask for the stored evaluations again: candidate " + std::to_string(index) +
                  " of stage " + record_.name);
    }
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

const std::vector<PlannedDocument>& StageRun::documents_for(Purpose purpose) const {
  switch (purpose) {
    case Purpose::kSearch:
      return planned().search;
    case Purpose::kHeldout:
      return planned().heldout;
    case Purpose::kFinal:
      return planned().final_documents;
    case Purpose::kWithinReach:
      return planned().judging();
  }
  throw std::logic_error("purpose out of range");
}

std::int64_t StageRun::need(const CandidateRecord& candidate, const PlannedDocument& document, EvaluationKind kind,
                            std::int64_t length, Effects& effects) {
  EvaluationRecord evaluation;
  evaluation.kind = kind;
  evaluation.factors_digest = candidate.factors_digest;
  evaluation.document_digest = document.digest;
  evaluation.length = length;
  if (kind == EvaluationKind::kGradient) evaluation.cost_passes = kGradientPasses;
  evaluation.hash = evaluation_hash(plan_, kind, candidate.factors_digest, document.digest, length);
  return evaluations_.need(std::move(evaluation), effects);
}

StageRun::Scoring StageRun::request_scores(Purpose purpose, CandidateRole role, std::size_t index, Effects& effects) {
  Scoring scoring{purpose, role, index, {}};
  const std::int64_t length = purpose == Purpose::kWithinReach ? record_.original_length : record_.target_length;
  for (const PlannedDocument& document : documents_for(purpose)) {
    scoring.evaluations.push_back(need(candidates(role)[index], document, EvaluationKind::kScore, length, effects));
  }
  return scoring;
}

void StageRun::request(Purpose purpose, CandidateRole role, std::size_t index, Effects& effects) {
  open_scorings_.push_back(request_scores(purpose, role, index, effects));
}

void StageRun::request_search(std::size_t index, const std::vector<DocumentRequest>& requests, Effects& effects) {
  CandidateRecord& candidate = search_[index];
  Scoring scoring{Purpose::kSearch, CandidateRole::kSearch, index, {}};
  if (requests.empty()) scoring = request_scores(Purpose::kSearch, CandidateRole::kSearch, index, effects);
  scoring.requested = !requests.empty();
  for (const DocumentRequest& request : requests) {
    scoring.evaluations.push_back(
        need(candidate, planned().search.at(request.document), request.kind, record_.target_length, effects));
  }
  candidate.evaluations = scoring.evaluations;
  open_scorings_.push_back(std::move(scoring));
}

void StageRun::settle_all(const Now& now, Effects& effects) {
  std::set<std::int64_t> unwanted;
  std::erase_if(open_scorings_, [&](const Scoring& scoring) { return settle(scoring, unwanted, now, effects); });
  if (unwanted.empty()) return;
  // Another candidate that waits may have asked for the same.
  for (const Scoring& scoring : open_scorings_) {
    for (const std::int64_t id : scoring.evaluations) unwanted.erase(id);
  }
  cancel(unwanted, now, effects);
}

bool StageRun::settle(const Scoring& scoring, std::set<std::int64_t>& unwanted, const Now& now, Effects& effects) {
  const auto in_state = [&](EvaluationState state) {
    return [this, state](std::int64_t id) { return evaluations_.at(id).state == state; };
  };
  CandidateResult result{.mean_nll = std::numeric_limits<double>::infinity()};
  if (std::ranges::any_of(scoring.evaluations, in_state(EvaluationState::kFailed))) {
    unwanted.insert(scoring.evaluations.begin(), scoring.evaluations.end());
  } else if (std::ranges::all_of(scoring.evaluations, in_state(EvaluationState::kScored))) {
    result = result_of(scoring);
  } else {
    return false;
  }
  record_result(scoring, std::move(result), now, effects);
  return true;
}

void StageRun::cancel(const std::set<std::int64_t>& evaluations, const Now& now, Effects& effects) {
  for (const std::int64_t id : evaluations) {
    if (auto lease = evaluations_.cancel(id, now, effects)) effects.revoked.push_back(*lease);
  }
}

CandidateResult StageRun::result_of(const Scoring& scoring) const {
  CandidateResult result;
  double nll_sum = 0.0;
  std::int64_t scored_tokens = 0;
  for (const std::int64_t id : scoring.evaluations) {
    const ScoreResult& document = *evaluations_.at(id).result;
    nll_sum += document.nll_sum;
    scored_tokens += document.scored_tokens;
    if (scoring.requested) result.documents.push_back(document);
  }
  result.mean_nll = nll_sum / static_cast<double>(scored_tokens);
  return result;
}

void StageRun::record_result(const Scoring& scoring, CandidateResult result, const Now& now, Effects& effects) {
  CandidateRecord& candidate = candidates(scoring.role)[scoring.index];
  const double mean_nll = result.mean_nll;
  const std::optional<double> scored = std::isfinite(mean_nll) ? std::optional(mean_nll) : std::nullopt;
  switch (scoring.purpose) {
    case Purpose::kSearch:  // written when it is told, in index order
      candidate.search_mean_nll = scored;
      trajectory_.give(scoring.index, std::move(result));
      return;
    case Purpose::kHeldout:
      candidate.heldout_mean_nll = scored;
      break;
    case Purpose::kFinal:
      candidate.final_mean_nll = scored;
      break;
    case Purpose::kWithinReach:  // its evaluations are the result
      break;
  }
  // A baseline is told by the first documents that it is scored on.
  if (scoring.role == CandidateRole::kBaseline && candidate.state == CandidateState::kOpen) {
    candidate.state = scored ? CandidateState::kTold : CandidateState::kQuarantined;
    candidate.told_at = now.unix_milliseconds;
  }
  effects.writes.emplace_back(candidate);
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
  std::set<std::int64_t> unwanted;
  for (const Scoring& scoring : open_scorings_) {
    unwanted.insert(scoring.evaluations.begin(), scoring.evaluations.end());
  }
  cancel(unwanted, now, effects);
  open_scorings_.clear();
  record_.state = StageState::kChoosing;
  add_baselines(effects);
  record_.judging_evaluations = judging_needed();
  write_stage(effects);
  request_heldout(effects);
}

std::vector<std::size_t> StageRun::finalists() const {
  std::vector<std::size_t> ranked;
  for (std::size_t index = 0; index < search_.size(); ++index) {
    if (search_[index].state == CandidateState::kTold) ranked.push_back(index);
  }
  std::ranges::stable_sort(
      ranked, {}, [&](std::size_t index) { return std::pair(-search_[index].rung, *search_[index].search_mean_nll); });
  // Factors that were asked for more than once are one finalist.
  std::set<std::string> digests;
  std::erase_if(ranked, [&](std::size_t index) { return !digests.insert(search_[index].factors_digest).second; });
  ranked.resize(std::min(ranked.size(), static_cast<std::size_t>(planned().config.finalists)));
  return ranked;
}

void StageRun::add_baselines(Effects& effects) {
  for (Baseline& baseline : stage_baselines(planned().space.geometry, planned().carried, record_.target_length)) {
    add_baseline(std::move(baseline), effects);
  }
}

void StageRun::add_baseline(Baseline baseline, Effects& effects) {
  CandidateRecord& candidate = baselines_.emplace_back();
  candidate.id = next_candidate_id_++;
  candidate.stage = record_.id;
  candidate.role = CandidateRole::kBaseline;
  candidate.index = static_cast<std::int64_t>(baselines_.size()) - 1;
  candidate.origin = std::move(baseline.origin);
  candidate.factors = std::move(baseline.factors);
  candidate.factors_digest = digest(candidate.factors);
  effects.writes.emplace_back(candidate);
}

void StageRun::request_heldout(Effects& effects) {
  for (const std::size_t index : finalists()) request(Purpose::kHeldout, CandidateRole::kSearch, index, effects);
  for (std::size_t index = 0; index < baselines_.size(); ++index) {
    request(Purpose::kHeldout, CandidateRole::kBaseline, index, effects);
  }
}

void StageRun::choose(Effects& effects) {
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
  if (!record_.winner) return;
  add_untouched_with_winners_m(effects);
  record_.judging_evaluations = judging_needed();
  write_stage(effects);
  request_judging(effects);
}

std::size_t StageRun::winner_index() const {
  const auto found = std::ranges::find(search_, *record_.winner, &CandidateRecord::id);
  if (found == search_.end()) throw Error("the database lacks the winner of stage " + record_.name);
  return static_cast<std::size_t>(found - search_.begin());
}

void StageRun::add_untouched_with_winners_m(Effects& effects) {
  const std::int64_t reached = planned().carried.reached_length;
  const bool is_scorable =
      reached > 0 && reached < record_.target_length &&
      std::ranges::none_of(
          planned().judging(), [](const PlannedDocument& document) { return document.scored_within_reach == 0; });
  if (!is_scorable) return;
  std::optional<RescaleFactors> factors =
      untouched_with_attention_of(search_[winner_index()].factors, planned().space.geometry, planned().carried);
  if (!factors) return;
  record_.original_length = reached;
  add_baseline({kUntouchedWithWinnersM, *std::move(factors)}, effects);
}

void StageRun::request_judging(Effects& effects) {
  const bool has_final = !planned().final_documents.empty();
  if (has_final) request(Purpose::kFinal, CandidateRole::kSearch, winner_index(), effects);
  for (std::size_t index = 0; index < baselines_.size(); ++index) {
    const CandidateRecord& baseline = baselines_[index];
    const bool is_for_reach = baseline.origin == kUntouchedWithWinnersM;
    if (has_final && !is_for_reach && baseline.state == CandidateState::kTold) {
      request(Purpose::kFinal, CandidateRole::kBaseline, index, effects);
    }
    if (record_.original_length > 0 && (is_for_reach || baseline.origin == kUntouched)) {
      request(Purpose::kWithinReach, CandidateRole::kBaseline, index, effects);
    }
  }
}

std::int64_t StageRun::heldout_needed() const {
  std::set<std::string> scored = baseline_digests();
  std::size_t needed = scored.size();
  if (record_.state == StageState::kChoosing) {
    for (const std::size_t index : finalists()) scored.insert(search_[index].factors_digest);
    needed = scored.size();
  } else {
    needed += std::min(planned().budget, static_cast<std::size_t>(planned().config.finalists));
  }
  return static_cast<std::int64_t>(needed * planned().heldout.size());
}

std::int64_t StageRun::final_needed() const {
  std::set<std::string> scored = baseline_digests();
  scored.insert(record_.winner ? search_[winner_index()].factors_digest : std::string("the winner to come"));
  return static_cast<std::int64_t>(scored.size() * planned().final_documents.size());
}

std::int64_t StageRun::judging_needed() const { return heldout_needed() + final_needed(); }

std::set<std::string> StageRun::baseline_digests() const {
  std::set<std::string> digests;
  for (const CandidateRecord& baseline : baselines_) {
    if (baseline.origin != kUntouchedWithWinnersM) digests.insert(baseline.factors_digest);
  }
  if (!digests.empty()) return digests;
  for (const Baseline& baseline : stage_baselines(planned().space.geometry, planned().carried, record_.target_length)) {
    digests.insert(digest(baseline.factors));
  }
  return digests;
}

std::int64_t StageRun::judging_left() const {
  if (record_.state == StageState::kFinished) return 0;
  if (record_.state != StageState::kChoosing) return record_.judging_evaluations;
  std::set<std::int64_t> open;
  for (const Scoring& scoring : open_scorings_) {
    if (scoring.purpose == Purpose::kWithinReach) continue;
    for (const std::int64_t id : scoring.evaluations) {
      if (evaluations_.at(id).state != EvaluationState::kScored) open.insert(id);
    }
  }
  return static_cast<std::int64_t>(open.size()) + (record_.winner ? 0 : final_needed());
}

void StageRun::finish(const Now& now, Effects& effects) {
  record_.state = StageState::kFinished;
  record_.ended_at = now.unix_milliseconds;
  write_stage(effects);
}

}  // namespace longrope
