#include "coordinator/core/worker_roster.h"

#include "config/device_names.h"

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

using std::chrono::milliseconds;

/// Heartbeats that a process may miss while another one claims its id.
constexpr int kHeartbeatsInDispute = 3;
/// A dispute lasts at least this long, because a worker needs up to 2 s to find a coordinator that was started again.
constexpr milliseconds kShortestDispute{3000};
/// Bounds memory; claimants beyond it wait too, but are not remembered.
constexpr std::size_t kMaxClaimants = 8;

}  // namespace

void WorkerRoster::restore(std::vector<WorkerRecord> rows, const std::vector<LeaseRecord>& open_leases, const Now& now,
                           Effects& effects) {
  for (const LeaseRecord& lease : open_leases) {
    Worker& worker = workers_[lease.worker];
    worker.sender = {lease.worker, lease.incarnation};
    worker.heard = now.steady;
    worker.progressed = now.steady;
  }
  for (WorkerRecord& row : rows) {
    std::string id = row.id;
    rows_.emplace(std::move(id), std::move(row));
  }
  disconnect("not heard of since the coordinator started again", effects);
}

void WorkerRoster::disconnect(const std::string& detail, Effects& effects) {
  for (auto& [id, row] : rows_) {
    if (row.state != WorkerState::kConnected) continue;
    row.state = WorkerState::kLost;
    row.detail = detail;
    effects.writes.emplace_back(row);
  }
}

Worker* WorkerRoster::hear(const Sender& sender, const std::string& peer, const Now& now) {
  Worker* worker = find(sender);
  if (worker == nullptr) return nullptr;
  worker->heard = now.steady;
  worker->peer = peer;
  row_of(sender).last_seen_at = now.unix_milliseconds;
  return worker;
}

Worker* WorkerRoster::find(const Sender& sender) {
  const auto found = workers_.find(sender.worker);
  return found != workers_.end() && found->second.sender == sender ? &found->second : nullptr;
}

Worker* WorkerRoster::find_peer(const std::string& peer) {
  const auto found = std::ranges::find(workers_, peer, [](const auto& entry) { return entry.second.peer; });
  return found == workers_.end() ? nullptr : &found->second;
}

bool WorkerRoster::admits(const Sender& sender, const std::string& peer, const Now& now, Effects& effects) {
  const auto found = workers_.find(sender.worker);
  if (found == workers_.end() || found->second.sender == sender) return true;
  Worker& holder = found->second;
  std::erase_if(holder.claimants,
                [&](const auto& entry) { return now.steady - entry.second.heard >= scheduling_.worker_timeout; });
  // A transport that knows the holder's connection to be gone says so when something is sent.
  effects.messages.push_back({holder.peer, Pong{}});
  auto claimant = holder.claimants.find(sender.incarnation);
  if (claimant == holder.claimants.end()) {
    if (holder.claimants.size() >= kMaxClaimants) return false;
    claimant = holder.claimants.emplace(sender.incarnation, Worker::Claimant{peer, now.steady, now.steady}).first;
  }
  claimant->second.peer = peer;
  claimant->second.heard = now.steady;
  // Frames that were on their way when the holder died come soon after the first hello of its successor; what comes so
  // much later was sent by a living process.
  if (holder.heard - claimant->second.since >= dispute()) {
    effects.messages.push_back(
        {peer, Refuse{"a worker id must be that of one process: " + sender.worker + " is at work on host " +
                      rows_[sender.worker].host + " (--id names a worker)"}});
  }
  return false;
}

void WorkerRoster::enter(const Hello& hello, const std::string& peer, const Now& now, Effects& effects) {
  Worker& worker = workers_[hello.sender.worker];
  worker.sender = hello.sender;
  worker.peer = peer;
  worker.greeted = true;
  worker.ready = false;
  worker.heard = now.steady;
  worker.progressed = now.steady;
  WorkerRecord& row = row_of(hello.sender);
  row.last_seen_at = now.unix_milliseconds;
  row.incarnation = hello.sender.incarnation;
  row.host = hello.host;
  row.state = WorkerState::kConnected;
  row.detail.clear();
  effects.writes.emplace_back(row);
}

void WorkerRoster::strike_off(const Sender& sender, WorkerState state, const std::string& detail, Effects& effects) {
  if (const Worker* worker = find(sender)) {
    for (const auto& [incarnation, claimant] : worker->claimants) {
      effects.messages.push_back({claimant.peer, Introduce{}});
    }
    workers_.erase(sender.worker);
  }
  const auto row = rows_.find(sender.worker);
  if (row == rows_.end() || row->second.incarnation != sender.incarnation) return;
  row->second.state = state;
  row->second.detail = detail;
  effects.writes.emplace_back(row->second);
}

std::vector<WorkerRoster::Departed> WorkerRoster::departed(const EvaluationTable& evaluations, const Now& now) const {
  std::vector<Departed> departed;
  for (const auto& [id, worker] : workers_) {
    const milliseconds silent = now.steady - worker.heard;
    const milliseconds idle = now.steady - worker.progressed;
    if (silent >= silence_allowed(worker)) {
      departed.push_back({worker.sender, "silent for " + std::to_string(silent.count()) + " ms" +
                                             (worker.claimants.empty() ? "" : ", and another process has its id")});
    } else if (idle >= scheduling_.lease_timeout && evaluations.leases_held(worker.sender) > 0) {
      departed.push_back({worker.sender, "no progress for " + std::to_string(idle.count()) + " ms"});
    }
  }
  return departed;
}

milliseconds WorkerRoster::next_deadline(const EvaluationTable& evaluations, const Now& now) const {
  milliseconds wait = scheduling_.worker_timeout;
  for (const auto& [id, worker] : workers_) {
    wait = std::min(wait, worker.heard + silence_allowed(worker) - now.steady);
    if (evaluations.leases_held(worker.sender) > 0) {
      wait = std::min(wait, worker.progressed + scheduling_.lease_timeout - now.steady);
    }
  }
  return wait;
}

std::set<std::string> WorkerRoster::ready() const {
  std::set<std::string> ids;
  for (const auto& [id, worker] : workers_) {
    if (worker.ready) ids.insert(id);
  }
  return ids;
}

std::string_view WorkerRoster::arithmetic() const {
  for (const auto& [id, row] : rows_) {
    const std::string_view arithmetic = described_arithmetic(row.device);
    if (row.results > 0 && !arithmetic.empty()) return arithmetic;
  }
  for (const auto& [id, worker] : workers_) {
    const auto row = rows_.find(id);
    if (worker.ready && row != rows_.end()) return described_arithmetic(row->second.device);
  }
  return "";
}

std::size_t WorkerRoster::connected() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(workers_, [](const auto& worker) { return worker.second.greeted; }));
}

WorkerRecord& WorkerRoster::row_of(const Sender& sender) {
  WorkerRecord& row = rows_[sender.worker];
  row.id = sender.worker;
  return row;
}

std::optional<std::string> WorkerRoster::why_refused(const Sender& sender) const {
  const auto row = rows_.find(sender.worker);
  const bool refused =
      row != rows_.end() && row->second.incarnation == sender.incarnation && row->second.state == WorkerState::kRefused;
  return refused ? std::optional(row->second.detail) : std::nullopt;
}

milliseconds WorkerRoster::silence_allowed(const Worker& worker) const {
  return worker.claimants.empty() ? scheduling_.worker_timeout : dispute();
}

milliseconds WorkerRoster::dispute() const {
  return std::min(scheduling_.worker_timeout,
                  std::max(kShortestDispute, kHeartbeatsInDispute * scheduling_.heartbeat_interval));
}

}  // namespace longrope
