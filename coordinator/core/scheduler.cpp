#include "coordinator/core/scheduler.h"

#include "common/error.h"
#include "common/overloaded.h"
#include "config/device_names.h"

#include <algorithm>
#include <set>
#include <utility>

namespace longrope {
namespace {

/// A worker whose results are refused this often in a row computes wrongly, whatever the candidate.
constexpr int kMaxRejectedInARow = 3;
/// At most this much of the time between two steps is held against workers; a healthy loop needs a fraction of it.
constexpr std::chrono::milliseconds kLongestRound{1000};
/// A candidate is given up only when so many workers failed at it, if there are so many.
constexpr std::size_t kWorkersToQuarantine = 2;

/// Revocations sent at one hello: more leases than any worker holds, and fewer messages than a transport queues for one
/// peer.
constexpr std::size_t kMaxRevokedAtHello = 500;

LeaseId id_of(const LeaseRecord& lease) { return {lease.evaluation, lease.epoch}; }

bool asks_gradients(const SearchPlan& plan) {
  return std::ranges::any_of(
      plan.stages, [](const PlannedStage& stage) { return stage.config.search.method == SearchMethod::kGradient; });
}

bool contains(const std::vector<LeaseId>& leases, const LeaseId& lease) {
  return std::ranges::find(leases, lease) != leases.end();
}

/// The name of an EvaluationError; a code that only a later version knows becomes "error N".
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

Scheduler::Scheduler(SearchPlan plan, Snapshot snapshot, const Now& now)
    : plan_(std::move(plan)), roster_(plan_.scheduling) {
  for (std::size_t i = 0; i < plan_.stages.size(); ++i) {
    stages_.push_back(std::make_unique<StageRun>(plan_, i, evaluations_, next_candidate_id_));
  }
  last_step_ = now.steady;
  restore(std::move(snapshot), now);
}

void Scheduler::restore(Snapshot snapshot, const Now& now) {
  roster_.restore(std::move(snapshot.workers), snapshot.open_leases, now, restored_);
  evaluations_.restore(std::move(snapshot.evaluations), std::move(snapshot.open_leases), now);
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

Effects Scheduler::step(const Event& event, const Now& read) {
  Effects effects = std::exchange(restored_, {});
  const std::chrono::milliseconds elapsed = read.steady - last_step_;
  last_step_ = read.steady;
  unattended_ += std::max(elapsed - longest_round(), std::chrono::milliseconds(0));
  const Now now = attended(read);
  if (!finished()) stages_[current_]->add_active_time(elapsed);
  std::visit(Overloaded{[](const TimePassed&) {}, [&](const WorkerSaid& said) { handle(said, now, effects); },
                        [&](const PeerUnreachable& gone) {
                          const Worker* worker = roster_.find_peer(gone.peer);
                          if (worker == nullptr) return;
                          const Sender sender = worker->sender;  // a copy: part_with() removes the worker
                          part_with(sender, WorkerState::kLost, "connection lost", now, effects);
                        }},
             event);
  part_with_departed(now, effects);
  advance_stages(now, effects);
  grant_leases(now, effects);
  send_revocations(effects);
  return effects;
}

Effects Scheduler::stop() {
  Effects effects;
  roster_.disconnect("the coordinator stopped", effects);
  return effects;
}

std::chrono::milliseconds Scheduler::longest_round() const {
  return std::clamp(plan_.scheduling.worker_timeout / 4, std::chrono::milliseconds(1), kLongestRound);
}

Now Scheduler::attended(const Now& now) const { return {now.steady - unattended_, now.unix_milliseconds}; }

void Scheduler::handle(const WorkerSaid& said, const Now& now, Effects& effects) {
  const Sender& sender = sender_of(said.message);
  Worker* known = roster_.hear(sender, said.peer, now);
  // Results and departures count by their lease, also from a worker that this process has not greeted yet.
  const auto when_greeted = [&](auto&& action) {
    if (finished()) {
      effects.messages.push_back({said.peer, Dismiss{"the search is finished"}});
    } else if (known != nullptr && known->greeted) {
      action(*known);
    } else {
      effects.messages.push_back({said.peer, Introduce{}});
    }
  };
  std::visit(
      Overloaded{
          [&](const Hello& hello) { greet(said.peer, hello, now, effects); },
          [&](const Ready& ready) { when_greeted([&](Worker& worker) { make_ready(worker, ready, now, effects); }); },
          [&](const Heartbeat& beat) {
            when_greeted([&](Worker& worker) { take_heartbeat(worker, beat, now, effects); });
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
  if (const auto reason = roster_.why_refused(hello.sender)) {
    effects.messages.push_back({peer, Refuse{*reason}});
    return;
  }
  if (!roster_.admits(hello.sender, peer, now, effects)) return;
  std::vector<LeaseRecord> forgotten;
  for (const LeaseRecord& lease : evaluations_.leases_of(hello.sender)) {
    if (!contains(hello.held, id_of(lease))) forgotten.push_back(lease);
  }
  release(forgotten, LeaseEnd::kReleased, "the worker does not hold it", now, effects);

  roster_.enter(hello, peer, now, effects);
  // Before the welcome, so that a worker whose compute loop hangs in revoked work does not call itself ready.
  std::size_t revoked = 0;
  for (const LeaseId& lease : hello.held) {
    if (evaluations_.holds(hello.sender, lease) || revoked++ >= kMaxRevokedAtHello) continue;
    effects.messages.push_back({peer, Revoke{lease}});
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
  if (asks_gradients(plan_) && described_device_kind(ready.device) == "cuda") {
    refuse(worker, "gradients must be computed on CPUs: this worker computes on " + ready.device, now, effects);
    return;
  }
  const std::string_view own = described_arithmetic(ready.device);
  if (const std::string_view begun = roster_.arithmetic(); !own.empty() && !begun.empty() && own != begun) {
    refuse(
        worker,
        "devices of a search must be of one kind, because results of CPUs, of CPUs with bfloat16 products and of GPUs "
        "differ in their last bits: it computes on " +
            std::string(begun) + ", this worker on " + std::string(own),
        now, effects);
    return;
  }
  worker.ready = true;
  worker.progressed = now.steady;
  WorkerRecord& row = roster_.row_of(worker.sender);
  row.device = ready.device;
  row.threads = ready.threads;
  effects.writes.emplace_back(row);
}

void Scheduler::take_heartbeat(Worker& worker, const Heartbeat& heartbeat, const Now& now, Effects& effects) {
  if (heartbeat.progress != worker.progress || evaluations_.leases_held(worker.sender) == 0) {
    worker.progress = heartbeat.progress;
    worker.progressed = now.steady;
  }
  // Work that was sent but lost with a connection is noticed once worker_timeout has passed without the worker holding
  // it.
  std::vector<LeaseRecord> lost =
      evaluations_.leases_granted_before(worker.sender, now.steady - plan_.scheduling.worker_timeout);
  std::erase_if(lost, [&](const LeaseRecord& lease) { return contains(heartbeat.held, id_of(lease)); });
  release(lost, LeaseEnd::kReleased, "the worker does not hold it", now, effects);
  effects.messages.push_back({worker.peer, Pong{}});
}

void Scheduler::take_result(const std::string& peer, const Result& result, const Now& now, Effects& effects) {
  const LeaseId& lease = result.lease;
  if (!evaluations_.contains(lease.evaluation) || lease.epoch > evaluations_.at(lease.evaluation).epoch) {
    acknowledge(peer, lease, "rejected", "no such lease was ever given", effects);
    return;
  }
  const EvaluationRecord& evaluation = evaluations_.at(lease.evaluation);
  const std::string objection = why_rejected(result.score, expected_result(evaluation));
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
  Worker* worker = roster_.find(result.sender);
  WorkerRecord& row = roster_.row_of(result.sender);
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
  WorkerRecord& row = roster_.row_of(failure.sender);
  ++row.failures;
  effects.writes.emplace_back(row);
  const std::string detail = error_name(failure.error) + ": " + failure.detail;
  if (failure.error == static_cast<std::int64_t>(EvaluationError::kOutOfMemory)) {
    // Says nothing about the candidate: all documents of a stage have one length, so this worker cannot serve it.
    Worker* worker = roster_.find(failure.sender);
    acknowledge(peer, lease, "stored", "", effects);
    if (worker != nullptr) refuse(*worker, detail, now, effects);
    return;
  }
  count_failure(lease, detail, now, effects);
  acknowledge(peer, lease, "stored", "", effects);
}

void Scheduler::count_failure(const LeaseId& lease, const std::string& detail, const Now& now, Effects& effects) {
  evaluations_.fail(lease, LeaseEnd::kFailed, detail, now, effects);
  const std::size_t enough_workers = std::clamp<std::size_t>(roster_.ready().size(), 1, kWorkersToQuarantine);
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
  roster_.strike_off(sender, state, detail, effects);
}

void Scheduler::release(const std::vector<LeaseRecord>& leases, LeaseEnd end, const std::string& detail, const Now& now,
                        Effects& effects) {
  for (const LeaseRecord& lease : leases) evaluations_.release(id_of(lease), end, detail, now, effects);
}

void Scheduler::part_with_departed(const Now& now, Effects& effects) {
  for (const auto& [sender, why] : roster_.departed(evaluations_, now)) {
    part_with(sender, WorkerState::kLost, why, now, effects);
  }
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
    if (finished()) dismiss_all(now, effects);
  }
}

void Scheduler::dismiss_all(const Now& now, Effects& effects) {
  std::vector<Sender> senders;
  for (const auto& [id, worker] : roster_.all()) {
    effects.messages.push_back({worker.peer, Dismiss{"the search is finished"}});
    senders.push_back(worker.sender);
  }
  for (const Sender& sender : senders) part_with(sender, WorkerState::kLeft, "the search is finished", now, effects);
}

void Scheduler::grant_leases(const Now& now, Effects& effects) {
  const std::set<std::string> ready = roster_.ready();
  // Everybody gets a first lease before anybody gets a second.
  for (std::size_t held = 0; held < static_cast<std::size_t>(plan_.scheduling.credit); ++held) {
    for (auto& [id, worker] : roster_.all()) {
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
    if (Worker* worker = roster_.find({lease.worker, lease.incarnation})) {
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

ExpectedResult Scheduler::expected_result(const EvaluationRecord& evaluation) const {
  const bool is_gradient = evaluation.kind == EvaluationKind::kGradient;
  return {.scored_tokens = expected_scored_tokens(evaluation),
          .length = evaluation.length,
          .gradient_size = is_gradient ? factors_.at(evaluation.factors_digest).lambda.size() + 1 : 0};
}

std::int64_t Scheduler::expected_scored_tokens(const EvaluationRecord& evaluation) const {
  for (const PlannedStage& stage : plan_.stages) {
    const bool is_within_reach = stage.carried.reached_length == evaluation.length;
    if (stage.config.target_length != evaluation.length && !is_within_reach) continue;
    for (const auto* documents : {&stage.search, &stage.heldout, &stage.final_documents}) {
      const auto found = std::ranges::find(*documents, evaluation.document_digest, &PlannedDocument::digest);
      if (found == documents->end()) continue;
      return stage.config.target_length == evaluation.length ? found->scored_tokens : found->scored_within_reach;
    }
  }
  throw Error("the database has an evaluation of a document that no stage has: " + evaluation.document_digest);
}

std::chrono::milliseconds Scheduler::next_deadline(const Now& now) const {
  std::chrono::milliseconds wait = std::min(longest_round(), roster_.next_deadline(evaluations_, attended(now)));
  if (!finished()) {
    if (const auto left = stages_[current_]->time_left()) wait = std::min(wait, *left);
  }
  return std::max(wait, std::chrono::milliseconds(0));
}

SearchProgress Scheduler::progress() const {
  const StageRun& stage = *stages_[std::min(current_, stages_.size() - 1)];
  SearchProgress progress;
  progress.stage = stage.record().name;
  progress.stage_state = stage.record().state;
  progress.told = stage.told();
  progress.budget = static_cast<std::size_t>(stage.record().budget);
  progress.best_candidate = stage.best();
  if (progress.best_candidate) {
    progress.best_mean_nll = stage.search_candidates()[*progress.best_candidate].search_mean_nll;
  }
  progress.workers_ready = roster_.ready().size();
  progress.evaluations_scored = scored_here_;
  progress.workers_connected = roster_.connected();
  progress.search_left = stage.search_left();
  progress.judging_evaluations = stage.record().judging_evaluations;
  progress.judging_left = stage.judging_left();
  progress.may_end_early = stage.may_end_early();
  progress.search_time_left = stage.time_left();
  return progress;
}

}  // namespace longrope
