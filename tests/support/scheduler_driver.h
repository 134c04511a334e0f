#pragma once

#include "coordinator/core/scheduler.h"
#include "tests/support/row_store.h"
#include "tests/support/search_fixture.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

/// One Scheduler under test with rows in memory and time that moves when told. Every step is committed at once.
class SchedulerDriver {
 public:
  explicit SchedulerDriver(SearchPlan plan = small_plan()) : plan_(std::move(plan)) { restart(); }

  /// The process dies and another takes its place.
  void restart() { scheduler_ = std::make_unique<Scheduler>(plan_, rows.load(), now()); }

  Effects step(const Event& event) {
    Effects effects = scheduler_->step(event, now());
    rows.apply(effects.writes);
    return effects;
  }
  Effects say(const Sender& sender, const WorkerMessage& message) { return step(WorkerSaid{peer_of(sender), message}); }
  /// Time passes as for a coordinator that listens: in rounds of a quarter of a second.
  Effects pass(std::chrono::milliseconds time) {
    constexpr std::chrono::milliseconds kRound{250};
    Effects all;
    do {
      now_ += std::min(time, kRound);
      time -= std::min(time, kRound);
      Effects effects = step(TimePassed{});
      std::ranges::move(effects.writes, std::back_inserter(all.writes));
      std::ranges::move(effects.messages, std::back_inserter(all.messages));
    } while (time > std::chrono::milliseconds(0));
    return all;
  }
  /// Moves time without a step, as when the process does not run.
  void sleep(std::chrono::milliseconds time) { now_ += time; }
  /// Somebody sets the clock of the machine.
  void set_wall_clock_forward(std::chrono::milliseconds jump) { wall_clock_ += jump.count(); }
  /// Settings of the next process.
  void change_plan(SearchPlan plan) { plan_ = std::move(plan); }

  Effects hello(const Sender& sender, std::vector<LeaseId> held = {}) {
    return say(sender, Hello{sender, "host", 0, std::move(held)});
  }
  Effects ready(const Sender& sender) { return say(sender, Ready{sender, plan_.model_digest, "cpu", 1}); }
  Effects join(const Sender& sender) {
    (void)hello(sender);
    return ready(sender);
  }
  Effects beat(const Sender& sender, std::int64_t progress) {
    return say(sender, Heartbeat{sender, progress, held_by(sender)});
  }
  Effects finish(const Sender& sender, const LeaseId& lease, const ScoreResult& score) {
    return say(sender, Result{sender, lease, score});
  }
  Effects fail(const Sender& sender, const LeaseId& lease, EvaluationError error) {
    return say(sender, Failure{sender, lease, static_cast<std::int64_t>(error), "because"});
  }
  /// Answers every lease of these workers correctly until nothing is leased. Returns the evaluations answered.
  std::int64_t work_off(const std::vector<Sender>& senders) {
    std::int64_t answered = 0;
    for (bool any = true; any;) {
      any = false;
      for (const Sender& sender : senders) {
        for (const LeaseId& lease : held_by(sender)) {
          (void)finish(sender, lease, fitness(lease));
          any = true;
          ++answered;
        }
      }
    }
    return answered;
  }
  [[nodiscard]] ScoreResult fitness(const LeaseId& lease) const {
    const EvaluationRecord& evaluation = rows.evaluations.at(lease.evaluation);
    for (const auto& [id, candidate] : rows.candidates) {
      if (candidate.factors_digest != evaluation.factors_digest) continue;
      return synthetic_result(evaluation.kind, candidate.factors.lambda, evaluation.document_digest);
    }
    throw std::logic_error("evaluation of no candidate");
  }

  [[nodiscard]] std::vector<LeaseId> held_by(const Sender& sender) const {
    std::vector<LeaseId> held;
    for (const auto& [key, lease] : rows.leases) {
      if (!lease.end && lease.worker == sender.worker && lease.incarnation == sender.incarnation) {
        held.push_back({lease.evaluation, lease.epoch});
      }
    }
    return held;
  }
  [[nodiscard]] EvaluationState state_of(const LeaseId& lease) const {
    return rows.evaluations.at(lease.evaluation).state;
  }
  [[nodiscard]] LeaseRecord lease_of(const LeaseId& lease) const {
    return rows.leases.at({lease.evaluation, lease.epoch});
  }
  [[nodiscard]] Scheduler& scheduler() { return *scheduler_; }
  [[nodiscard]] Now now() const { return {now_, wall_clock_ + now_.count()}; }
  [[nodiscard]] const SearchPlan& plan() const { return plan_; }
  [[nodiscard]] static std::string peer_of(const Sender& sender) { return "peer-" + sender.incarnation; }

  RowStore rows;

 private:
  SearchPlan plan_;
  std::chrono::milliseconds now_{1000};
  std::int64_t wall_clock_ = 1'700'000'000'000;
  std::unique_ptr<Scheduler> scheduler_;
};

/// The messages of one type in `effects`; to `peer` alone if it is given.
template <class M>
std::vector<M> messages_of(const Effects& effects, const std::optional<std::string>& peer = std::nullopt) {
  std::vector<M> found;
  for (const Outgoing& outgoing : effects.messages) {
    if (peer && outgoing.peer != *peer) continue;
    if (const auto* message = std::get_if<M>(&outgoing.message)) found.push_back(*message);
  }
  return found;
}

}  // namespace longrope
