#include "coordinator/core/scheduler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "common/overloaded.h"

namespace longrope {
namespace {

/// A worker whose results are refused this often in a row computes wrongly, whatever the candidate.
constexpr int kMaxRejectedInARow = 3;
/// A candidate is given up only when so many workers failed at it, if there are so many.
constexpr std::size_t kWorkersToQuarantine = 2;

LeaseId id_of(const LeaseRecord& lease) { return {lease.evaluation, lease.epoch}; }

bool contains(const std::vector<LeaseId>& leases, const LeaseId& lease) {
  return std::ranges::find(leases, lease) != leases.end();
}

/// Also of a code that only a later version knows.
std::string error_name(std::int64_t error) {
  constexpr auto kFirst = static_cast<std::int64_t>(EvaluationError::kNonFinite);
  constexpr auto kLast = static_cast<std::int64_t>(EvaluationError::kInternal);
  if (error < kFirst || error > kLast) return "error " + std::to_string(error);
  return std::string(to_string(static_cast<EvaluationError>(error)));
}

void acknowledge(const std::string& peer, const LeaseId& lease, std::string outcome, std::string detail,
                 Effects& effects) {
  effects.messages.push_back({peer, Acknowledge{lease, std::move(outcome), std::move(detail)}});
}

}  // namespace

Scheduler::Scheduler(SearchPlan plan, Snapshot snapshot, const Now& now) : plan_(std::move(plan)) {
  for (std::size_t i = 0; i < plan_.stages.size(); ++i) {
    stages_.push_back(std::make_unique<StageRun>(plan_, i, evaluations_, next_candidate_id_));
  }
  last_step_ = now.steady;
  restore(std::move(snapshot), now);
}

void Scheduler::restore(Snapshot snapshot, const Now& now) {
  for (const LeaseRecord& lease : snapshot.open_leases) {
    Worker& worker = workers_[lease.worker];
    worker.sender = {lease.worker, lease.incarnation};
    worker.heard = now.steady;
    worker.progressed = now.steady;
  }
  evaluations_.restore(std::move(snapshot.evaluations), std::move(snapshot.open_leases));
  for (WorkerRecord& worker : snapshot.workers) {
    std::string id = worker.id;
    worker_rows_.emplace(std::move(id), std::move(worker));
  }
  std::map<std::int64_t, std::vector<CandidateRecord>> by_stage;
  for (CandidateRecord& candidate : snapshot.candidates) {
    next_candidate_id_ = std::max(next_candidate_id_, candidate.id + 1);
    factors_.emplace(candidate.factors_digest, candidate.factors);
    by_stage[candidate.stage].push_back(std::move(candidate));
  }
  for (const StageRecord& stage : snapshot.stages) {
    StageRun& run = *stages_.at(static_cast<std::size_t>(stage.id - 1));
    run.restore(stage, std::move(by_stage[stage.id]));
  }
  while (!finished() && stages_[current_]->record().state == StageState::kFinished) ++current_;
}

Effects Scheduler::step(const Event& event, const Now& now) {
  Effects effects;
  const std::chrono::milliseconds elapsed = now.steady - last_step_;
  last_step_ = now.steady;
  if (!finished()) stages_[current_]->add_active_time(elapsed);
  if (elapsed > plan_.scheduling.worker_timeout / 2) {
    // This process slept (a full disk, a stopped machine): time in which nobody listened is not held against workers.
    for (auto& [id, worker] : workers_) {
      worker.heard += elapsed;
      worker.progressed += elapsed;
    }
  }
  std::visit(Overloaded{[](const TimePassed&) {}, [&](const WorkerSaid& said) { handle(said, now, effects); },
                        [&](const PeerUnreachable& gone) {
                          const auto found = std::ranges::find(workers_, gone.peer,
                                                               [](const auto& entry) { return entry.second.peer; });
                          if (found == workers_.end()) return;
                          const Sender sender = found->second.sender;  // the entry goes
                          part_with(sender, WorkerState::kLost, "connection lost", now, effects);
                        }},
             event);
  check_liveness(now, effects);
  advance_stages(now, effects);
  grant_leases(now, effects);
  send_revocations(effects);
  return effects;
}

void Scheduler::handle(const WorkerSaid& said, const Now& now, Effects& effects) {
  const Sender& sender = sender_of(said.message);
  if (Worker* worker = find_live(sender)) {
    worker->heard = now.steady;
    worker->peer = said.peer;
  }
  // Results and departures count by their lease, also from a worker that this process has not greeted yet.
  const auto when_known = [&](auto&& action) {
    Worker* worker = find_live(sender);
    if (worker != nullptr && worker->greeted) {
      action(*worker);
    } else {
      effects.messages.push_back({said.peer, Introduce{}});
    }
  };
  std::visit(
      Overloaded{
          [&](const Hello& hello) { greet(said.peer, hello, now, effects); },
          [&](const Ready& ready) { when_known([&](Worker& worker) { make_ready(worker, ready, now, effects); }); },
          [&](const Heartbeat& beat) {
            when_known([&](Worker& worker) { take_heartbeat(worker, beat, now, effects); });
          },
          [&](const Unable& unable) { part_with(sender, WorkerState::kRefused, unable.reason, now, effects); },
          [&](const Leaving&) { part_with(sender, WorkerState::kLeft, "left", now, effects); },
          [&](const Result& result) { take_result(said.peer, result, now, effects); },
          [&](const Failure& failure) { take_failure(said.peer, failure, now, effects); },
          [](const NeedDocument&) {}},  // answered by the coordinator's loop, which has the tokens
      said.message);
}

void Scheduler::greet(const std::string& peer, const Hello& hello, const Now& now, Effects& effects) {
  if (finished()) {
    effects.messages.push_back({peer, Dismiss{"the search is finished"}});
    return;
  }
  if (hello.threads != 0 && hello.threads != plan_.threads_per_worker) {
    effects.messages.push_back(
        {peer, Refuse{"threads must be those of the search, because results may depend on them: " +
                      std::to_string(hello.threads) + " offered, " + std::to_string(plan_.threads_per_worker) +
                      " configured"}});
    return;
  }
  if (const auto row = worker_rows_.find(hello.sender.worker); row != worker_rows_.end() &&
                                                               row->second.incarnation == hello.sender.incarnation &&
                                                               row->second.state == WorkerState::kRefused) {
    effects.messages.push_back({peer, Refuse{row->second.detail}});
    return;
  }
  // The same worker under another incarnation: that process is gone, and its leases with it.
  release(evaluations_.leases_of_earlier_incarnations(hello.sender), LeaseEnd::kReleased, "worker started again", now,
          effects);
  std::vector<LeaseRecord> forgotten;
  for (const LeaseRecord& lease : evaluations_.leases_of(hello.sender)) {
    if (!contains(hello.held, id_of(lease))) forgotten.push_back(lease);
  }
  release(forgotten, LeaseEnd::kReleased, "the worker does not hold it", now, effects);

  Worker& worker = workers_[hello.sender.worker];
  worker = Worker{};
  worker.peer = peer;
  worker.sender = hello.sender;
  worker.greeted = true;
  worker.heard = now.steady;
  worker.progressed = now.steady;
  WorkerRecord& row = record_of(hello.sender, now);
  row.incarnation = hello.sender.incarnation;
  row.host = hello.host;
  row.state = WorkerState::kConnected;
  row.detail.clear();
  effects.writes.emplace_back(row);
  // Before the welcome, so that a worker whose compute loop hangs in revoked work does not call itself ready.
  for (const LeaseId& lease : hello.held) {
    if (!evaluations_.holds(hello.sender, lease)) effects.messages.push_back({peer, Revoke{lease}});
  }
  effects.messages.push_back({peer, Welcome{plan_.model_name, plan_.model_digest, std::string(to_string(plan_.dtype)),
                                            std::string(to_string(plan_.angles)), plan_.threads_per_worker,
                                            plan_.scheduling.heartbeat_interval.count()}});
}

void Scheduler::make_ready(Worker& worker, const Ready& ready, const Now& now, Effects& effects) {
  if (ready.model_digest != plan_.model_digest) {
    refuse(worker, "model digest must be " + plan_.model_digest + ": " + ready.model_digest, now, effects);
    return;
  }
  if (worker.ready) return;  // an idle worker repeats it
  worker.ready = true;
  worker.progressed = now.steady;
  WorkerRecord& row = record_of(worker.sender, now);
  row.device = ready.device;
  row.threads = ready.threads;
  effects.writes.emplace_back(row);
}

void Scheduler::take_heartbeat(Worker& worker, const Heartbeat& heartbeat, const Now& now, Effects& effects) {
  if (heartbeat.progress != worker.progress || evaluations_.leases_held(worker.sender) == 0) {
    worker.progress = heartbeat.progress;
    worker.progressed = now.steady;
  }
  // Work that never arrived (sent, but lost with a connection) is noticed once it must have.
  std::vector<LeaseRecord> lost;
  const std::int64_t settled = now.unix_milliseconds - plan_.scheduling.worker_timeout.count();
  for (const LeaseRecord& lease : evaluations_.leases_of(worker.sender)) {
    if (lease.granted_at < settled && !contains(heartbeat.held, id_of(lease))) lost.push_back(lease);
  }
  release(lost, LeaseEnd::kReleased, "the worker does not hold it", now, effects);
  if (finished()) {
    effects.messages.push_back({worker.peer, Dismiss{"the search is finished"}});  // the first one was lost
  } else {
    effects.messages.push_back({worker.peer, Pong{}});
  }
}

void Scheduler::take_result(const std::string& peer, const Result& result, const Now& now, Effects& effects) {
  const LeaseId& lease = result.lease;
  if (!evaluations_.contains(lease.evaluation) || lease.epoch > evaluations_.at(lease.evaluation).epoch) {
    acknowledge(peer, lease, "rejected", "no such lease was ever given", effects);
    return;
  }
  const EvaluationRecord& evaluation = evaluations_.at(lease.evaluation);
  const std::string objection = why_rejected(result.score, expected_scored_tokens(evaluation), evaluation.length);
  Worker* worker = find_live(result.sender);
  WorkerRecord& row = record_of(result.sender, now);
  if (!evaluations_.holds(result.sender, lease)) {
    const bool duplicate = evaluation.state == EvaluationState::kScored && evaluation.epoch == lease.epoch &&
                           evaluation.worker == result.sender.worker;
    if (duplicate) {
      acknowledge(peer, lease, "duplicate", "", effects);
    } else if (!objection.empty()) {
      acknowledge(peer, lease, "rejected", objection, effects);
    } else {
      LateResultRecord late{lease.evaluation, lease.epoch,  result.sender.worker,
                            result.score,     std::nullopt, now.unix_milliseconds};
      if (evaluation.result) late.same_as_stored = evaluation.result->same_result(result.score);
      effects.writes.emplace_back(std::move(late));
      acknowledge(peer, lease, "late", "", effects);
    }
    return;
  }
  if (!objection.empty()) {
    ++row.failures;
    effects.writes.emplace_back(row);
    // No factors make a correct worker report this: the candidate is not blamed.
    evaluations_.release(lease, LeaseEnd::kRejected, objection, now, effects);
    acknowledge(peer, lease, "rejected", objection, effects);
    if (worker != nullptr && ++worker->rejected_in_a_row >= kMaxRejectedInARow) {
      refuse(*worker, "results rejected " + std::to_string(kMaxRejectedInARow) + " times in a row: " + objection, now,
             effects);
    }
    return;
  }
  evaluations_.score(lease, result.score, now, effects);
  ++scored_here_;
  ++row.results;
  row.seconds += result.score.seconds;
  effects.writes.emplace_back(row);
  if (worker != nullptr) worker->rejected_in_a_row = 0;
  acknowledge(peer, lease, "stored", "", effects);
}

void Scheduler::take_failure(const std::string& peer, const Failure& failure, const Now& now, Effects& effects) {
  const LeaseId& lease = failure.lease;
  if (!evaluations_.contains(lease.evaluation) || !evaluations_.holds(failure.sender, lease)) {
    acknowledge(peer, lease, "late", "", effects);
    return;
  }
  WorkerRecord& row = record_of(failure.sender, now);
  ++row.failures;
  effects.writes.emplace_back(row);
  const std::string detail = error_name(failure.error) + ": " + failure.detail;
  if (failure.error == static_cast<std::int64_t>(EvaluationError::kOutOfMemory)) {
    // Says nothing about the candidate: all documents of a stage have one length, so this worker cannot serve it.
    Worker* worker = find_live(failure.sender);
    acknowledge(peer, lease, "stored", "", effects);
    if (worker != nullptr) refuse(*worker, detail, now, effects);
    return;
  }
  count_failure(lease, detail, now, effects);
  acknowledge(peer, lease, "stored", "", effects);
}

void Scheduler::count_failure(const LeaseId& lease, const std::string& detail, const Now& now, Effects& effects) {
  evaluations_.fail(lease, LeaseEnd::kFailed, detail, now, effects);
  const auto ready =
      static_cast<std::size_t>(std::ranges::count_if(workers_, [](const auto& entry) { return entry.second.ready; }));
  const std::size_t enough_workers = std::clamp<std::size_t>(ready, 1, kWorkersToQuarantine);
  if (evaluations_.at(lease.evaluation).failures >= plan_.scheduling.max_failures &&
      evaluations_.workers_that_failed(lease.evaluation) >= enough_workers) {
    evaluations_.give_up(lease.evaluation, effects);
  }
}

void Scheduler::refuse(const Worker& worker, const std::string& reason, const Now& now, Effects& effects) {
  effects.messages.push_back({worker.peer, Refuse{reason}});
  const Sender sender = worker.sender;
  part_with(sender, WorkerState::kRefused, reason, now, effects);
}

void Scheduler::part_with(const Sender& sender, WorkerState state, const std::string& detail, const Now& now,
                          Effects& effects) {
  release(evaluations_.leases_of(sender), state == WorkerState::kLost ? LeaseEnd::kExpired : LeaseEnd::kReleased,
          detail, now, effects);
  if (find_live(sender) != nullptr) workers_.erase(sender.worker);
  if (workers_.contains(sender.worker)) return;  // the row speaks of a later incarnation
  WorkerRecord& row = record_of(sender, now);
  row.state = state;
  row.detail = detail;
  effects.writes.emplace_back(row);
}

void Scheduler::release(const std::vector<LeaseRecord>& leases, LeaseEnd end, const std::string& detail, const Now& now,
                        Effects& effects) {
  for (const LeaseRecord& lease : leases) evaluations_.release(id_of(lease), end, detail, now, effects);
}

void Scheduler::check_liveness(const Now& now, Effects& effects) {
  std::vector<std::pair<Sender, std::string>> gone;
  for (const auto& [id, worker] : workers_) {
    if (now.steady - worker.heard >= plan_.scheduling.worker_timeout) {
      gone.emplace_back(worker.sender, "silent for " + std::to_string((now.steady - worker.heard).count()) + " ms");
    } else if (evaluations_.leases_held(worker.sender) > 0 &&
               now.steady - worker.progressed >= plan_.scheduling.lease_timeout) {
      gone.emplace_back(worker.sender,
                        "no progress for " + std::to_string((now.steady - worker.progressed).count()) + " ms");
    }
  }
  for (const auto& [sender, reason] : gone) part_with(sender, WorkerState::kLost, reason, now, effects);
}

void Scheduler::advance_stages(const Now& now, Effects& effects) {
  while (!finished()) {
    const std::size_t first_write = effects.writes.size();
    stages_[current_]->advance(now, effects);
    for (std::size_t i = first_write; i < effects.writes.size(); ++i) {
      if (const auto* candidate = std::get_if<CandidateRecord>(&effects.writes[i])) {
        factors_.emplace(candidate->factors_digest, candidate->factors);
      }
    }
    if (stages_[current_]->record().state != StageState::kFinished) return;
    ++current_;
    if (!finished()) continue;
    for (const auto& [id, worker] : workers_) {
      effects.messages.push_back({worker.peer, Dismiss{"the search is finished"}});
    }
  }
}

void Scheduler::grant_leases(const Now& now, Effects& effects) {
  std::set<std::string> ready;
  for (const auto& [id, worker] : workers_) {
    if (worker.ready) ready.insert(id);
  }
  // Everybody gets a first lease before anybody gets a second.
  for (std::size_t held = 0; held < static_cast<std::size_t>(plan_.scheduling.credit); ++held) {
    for (auto& [id, worker] : workers_) {
      if (!evaluations_.has_pending()) return;
      if (!worker.ready || evaluations_.leases_held(worker.sender) != held) continue;
      if (held == 0) worker.progressed = now.steady;
      const auto lease = evaluations_.grant(worker.sender, ready, now, effects);
      if (lease) effects.messages.push_back({worker.peer, work_for(*lease)});
    }
  }
}

void Scheduler::send_revocations(Effects& effects) {
  for (const LeaseRecord& lease : effects.revoked) {
    if (Worker* worker = find_live({lease.worker, lease.incarnation})) {
      effects.messages.push_back({worker->peer, Revoke{id_of(lease)}});
    }
  }
}

Work Scheduler::work_for(const LeaseId& lease) const {
  const EvaluationRecord& evaluation = evaluations_.at(lease.evaluation);
  const RescaleFactors& factors = factors_.at(evaluation.factors_digest);
  return {lease,
          static_cast<std::int64_t>(evaluation.kind),
          factors.lambda,
          factors.n_hat,
          factors.attention.value,
          evaluation.document_digest,
          evaluation.length};
}

std::int64_t Scheduler::expected_scored_tokens(const EvaluationRecord& evaluation) const {
  for (const PlannedStage& stage : plan_.stages) {
    if (stage.config.target_length != evaluation.length) continue;
    for (const auto* documents : {&stage.search, &stage.heldout}) {
      const auto found = std::ranges::find(*documents, evaluation.document_digest, &PlannedDocument::digest);
      if (found != documents->end()) return found->scored_tokens;
    }
  }
  throw Error("an evaluation must be of a planned document: " + evaluation.document_digest);
}

Scheduler::Worker* Scheduler::find_live(const Sender& sender) {
  const auto found = workers_.find(sender.worker);
  return found != workers_.end() && found->second.sender == sender ? &found->second : nullptr;
}

WorkerRecord& Scheduler::record_of(const Sender& sender, const Now& now) {
  WorkerRecord& row = worker_rows_[sender.worker];
  row.id = sender.worker;
  if (row.incarnation.empty()) row.incarnation = sender.incarnation;
  row.last_seen_at = now.unix_milliseconds;
  return row;
}

std::chrono::milliseconds Scheduler::next_deadline(const Now& now) const {
  using std::chrono::milliseconds;
  milliseconds wait = plan_.scheduling.worker_timeout;
  for (const auto& [id, worker] : workers_) {
    wait = std::min(wait, worker.heard + plan_.scheduling.worker_timeout - now.steady);
    if (evaluations_.leases_held(worker.sender) > 0) {
      wait = std::min(wait, worker.progressed + plan_.scheduling.lease_timeout - now.steady);
    }
  }
  if (!finished()) {
    if (const auto left = stages_[current_]->time_left()) wait = std::min(wait, *left);
  }
  return std::max(wait, milliseconds(0));
}

Progress Scheduler::progress() const {
  const StageRun& stage = *stages_[std::min(current_, stages_.size() - 1)];
  Progress progress;
  progress.stage = stage.record().name;
  progress.stage_state = stage.record().state;
  progress.told = stage.told();
  progress.budget = static_cast<std::size_t>(stage.record().budget);
  progress.best_candidate = stage.best();
  if (progress.best_candidate) {
    progress.best_mean_nll = stage.search_candidates()[*progress.best_candidate].search_mean_nll;
  }
  progress.workers_ready =
      static_cast<std::size_t>(std::ranges::count_if(workers_, [](const auto& entry) { return entry.second.ready; }));
  progress.evaluations_scored = scored_here_;
  if (progress.stage_state == StageState::kSearching) {
    const auto documents = plan_.stages[current_].search.size();
    progress.documents_left = static_cast<std::int64_t>((progress.budget - progress.told) * documents);
  }
  return progress;
}

}  // namespace longrope
