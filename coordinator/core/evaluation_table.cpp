#include "coordinator/core/evaluation_table.h"

#include "common/error.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace longrope {

void EvaluationTable::restore(std::vector<EvaluationRecord> evaluations, std::vector<LeaseRecord> open_leases,
                              const Now& now) {
  evaluations_ = std::move(evaluations);
  for (std::size_t i = 0; i < evaluations_.size(); ++i) {
    const EvaluationRecord& evaluation = evaluations_[i];
    if (evaluation.id != static_cast<std::int64_t>(i) + 1) {
      throw Error("the evaluation ids of the database do not run from 1 without holes: " +
                  std::to_string(evaluation.id));
    }
    by_hash_[evaluation.hash] = evaluation.id;
    if (evaluation.state == EvaluationState::kPending) pending_.insert(evaluation.id);
  }
  for (LeaseRecord& lease : open_leases) {
    const std::int64_t evaluation = lease.evaluation;
    if (!contains(evaluation) || at(evaluation).state != EvaluationState::kLeased) {
      throw Error("the database has an open lease of an evaluation that is not leased: " + std::to_string(evaluation));
    }
    open_lease(std::move(lease), now);
  }
  for (const EvaluationRecord& evaluation : evaluations_) {
    if (evaluation.state == EvaluationState::kLeased && !open_leases_.contains(evaluation.id)) {
      throw Error("the database has a leased evaluation without an open lease: " + std::to_string(evaluation.id));
    }
  }
}

std::int64_t EvaluationTable::need(EvaluationRecord evaluation, Effects& effects) {
  const auto [found, is_new] = by_hash_.try_emplace(evaluation.hash, size() + 1);
  const std::int64_t id = found->second;
  if (is_new) {
    evaluation.id = id;
    evaluation.state = EvaluationState::kPending;
    evaluations_.push_back(std::move(evaluation));
  } else if (at(id).state == EvaluationState::kCancelled) {
    row(id).state = EvaluationState::kPending;
  } else {
    return id;
  }
  pending_.insert(id);
  effects.writes.emplace_back(at(id));
  return id;
}

const EvaluationRecord& EvaluationTable::at(std::int64_t id) const {
  return evaluations_.at(static_cast<std::size_t>(id - 1));
}

std::optional<LeaseId> EvaluationTable::grant(const Sender& worker, const std::set<std::string>& ready_workers,
                                              const Now& now, Effects& effects) {
  const auto free_for_worker = [&](std::int64_t id) {
    const auto failed = failed_workers_.find(id);
    return failed == failed_workers_.end() || !failed->second.contains(worker.worker) ||
           std::ranges::includes(failed->second, ready_workers);
  };
  auto chosen = std::ranges::find_if(pending_, free_for_worker);
  if (chosen == pending_.end()) return std::nullopt;
  EvaluationRecord& evaluation = row(*chosen);
  pending_.erase(chosen);
  evaluation.state = EvaluationState::kLeased;
  evaluation.worker = worker.worker;
  ++evaluation.epoch;
  LeaseRecord lease;
  lease.evaluation = evaluation.id;
  lease.epoch = evaluation.epoch;
  lease.worker = worker.worker;
  lease.incarnation = worker.incarnation;
  lease.granted_at = now.unix_milliseconds;
  effects.writes.emplace_back(evaluation);
  effects.writes.emplace_back(lease);
  open_lease(std::move(lease), now);
  return LeaseId{evaluation.id, evaluation.epoch};
}

bool EvaluationTable::holds(const Sender& sender, const LeaseId& lease) const {
  const auto found = open_leases_.find(lease.evaluation);
  if (found == open_leases_.end()) return false;
  const LeaseRecord& open = found->second.row;
  return open.epoch == lease.epoch && open.worker == sender.worker && open.incarnation == sender.incarnation;
}

std::vector<LeaseRecord> EvaluationTable::leases_of(const Sender& sender) const {
  return leases_granted_before(sender, std::chrono::milliseconds::max());
}

std::vector<LeaseRecord> EvaluationTable::leases_granted_before(const Sender& sender,
                                                                std::chrono::milliseconds time) const {
  std::vector<LeaseRecord> leases;
  const auto held = leased_evaluations_.find(sender);
  if (held == leased_evaluations_.end()) return leases;
  for (const std::int64_t evaluation : held->second) {
    const OpenLease& lease = open_leases_.at(evaluation);
    if (lease.granted < time) leases.push_back(lease.row);
  }
  return leases;
}

std::size_t EvaluationTable::leases_held(const Sender& sender) const {
  const auto held = leased_evaluations_.find(sender);
  return held == leased_evaluations_.end() ? 0 : held->second.size();
}

std::vector<LeaseRecord> EvaluationTable::open_leases() const {
  std::vector<LeaseRecord> leases;
  for (const auto& [evaluation, lease] : open_leases_) leases.push_back(lease.row);
  return leases;
}

void EvaluationTable::score(const LeaseId& lease, const ScoreResult& result, const Now& now, Effects& effects) {
  end_lease(lease, LeaseEnd::kScored, "", now, effects);
  EvaluationRecord& evaluation = row(lease.evaluation);
  evaluation.state = EvaluationState::kScored;
  evaluation.result = result;
  evaluation.scored_at = now.unix_milliseconds;
  effects.writes.emplace_back(evaluation);
}

void EvaluationTable::fail(const LeaseId& lease, LeaseEnd end, const std::string& detail, const Now& now,
                           Effects& effects) {
  const std::string worker = open_leases_.at(lease.evaluation).row.worker;
  EvaluationRecord& evaluation = row(lease.evaluation);
  evaluation.error = detail;
  ++evaluation.failures;
  failed_workers_[lease.evaluation].insert(worker);
  release(lease, end, detail, now, effects);
}

void EvaluationTable::release(const LeaseId& lease, LeaseEnd end, const std::string& detail, const Now& now,
                              Effects& effects) {
  end_lease(lease, end, detail, now, effects);
  row(lease.evaluation).state = EvaluationState::kPending;
  pending_.insert(lease.evaluation);
  effects.writes.emplace_back(at(lease.evaluation));
}

std::size_t EvaluationTable::workers_that_failed(std::int64_t id) const {
  const auto found = failed_workers_.find(id);
  return found == failed_workers_.end() ? 0 : found->second.size();
}

void EvaluationTable::give_up(std::int64_t id, Effects& effects) {
  if (at(id).state != EvaluationState::kPending) {
    throw std::logic_error("only a pending evaluation is given up: " + std::to_string(id));
  }
  pending_.erase(id);
  row(id).state = EvaluationState::kFailed;
  effects.writes.emplace_back(at(id));
}

std::optional<LeaseRecord> EvaluationTable::cancel(std::int64_t id, const Now& now, Effects& effects) {
  std::optional<LeaseRecord> revoked;
  if (at(id).state == EvaluationState::kLeased) {
    revoked = open_leases_.at(id).row;
    end_lease({id, at(id).epoch}, LeaseEnd::kReleased, "no longer wanted", now, effects);
  } else if (at(id).state != EvaluationState::kPending) {
    return std::nullopt;
  }
  pending_.erase(id);
  row(id).state = EvaluationState::kCancelled;
  effects.writes.emplace_back(at(id));
  return revoked;
}

void EvaluationTable::open_lease(LeaseRecord lease, const Now& now) {
  const std::int64_t evaluation = lease.evaluation;
  leased_evaluations_[{lease.worker, lease.incarnation}].insert(evaluation);
  open_leases_[evaluation] = {std::move(lease), now.steady};
}

void EvaluationTable::end_lease(const LeaseId& lease, LeaseEnd end, const std::string& detail, const Now& now,
                                Effects& effects) {
  const auto found = open_leases_.find(lease.evaluation);
  if (found == open_leases_.end() || found->second.row.epoch != lease.epoch) {
    throw std::logic_error("lease is not open: evaluation " + std::to_string(lease.evaluation));
  }
  LeaseRecord ended = std::move(found->second.row);
  open_leases_.erase(found);
  const auto held = leased_evaluations_.find({ended.worker, ended.incarnation});
  held->second.erase(lease.evaluation);
  if (held->second.empty()) leased_evaluations_.erase(held);
  ended.end = end;
  ended.detail = detail;
  ended.ended_at = now.unix_milliseconds;
  effects.writes.emplace_back(std::move(ended));
}

}  // namespace longrope
