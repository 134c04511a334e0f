#include "worker/worker_protocol.h"

#include "common/overloaded.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace longrope {
namespace {

constexpr std::chrono::milliseconds kHelloInterval{500};
constexpr std::chrono::milliseconds kSendAgain{5000};  // what was not acknowledged
constexpr std::chrono::minutes kAskAgainAtMost{5};     // for a document: it may be long, and long on its way
constexpr std::size_t kDocumentsKept = 64;             // a stage has fewer; at 2 million tokens they are 512 MiB
constexpr int kExitRefused = 2;

bool same_session(const Welcome& a, const Welcome& b) {
  return a.model_name == b.model_name && a.model_digest == b.model_digest && a.dtype == b.dtype &&
         a.angles == b.angles && a.threads == b.threads;
}

}  // namespace

WorkerProtocol::WorkerProtocol(Sender sender, std::string host, std::int64_t threads)
    : sender_(std::move(sender)), host_(std::move(host)), threads_(threads) {}

WorkerActions WorkerProtocol::receive(const CoordinatorMessage& message, const Now& now) {
  WorkerActions actions;
  answered_ = true;
  std::visit(
      Overloaded{[&](const Welcome& welcome) {
                   welcomed_ = true;
                   last_sent_again_ = now.steady;
                   const bool same_model = session_ && same_session(*session_, welcome);
                   session_ = welcome;
                   requests_.clear();  // they went to the process before
                   ask_for_documents(now, actions);
                   if (same_model || loading_) {
                     announce_ready(actions);
                     for (const auto& [lease, report] : unacknowledged_) actions.send.push_back(report);
                   } else {
                     ready_.reset();
                     loading_ = true;
                     actions.load = LoadModel{welcome};
                   }
                 },
                 [&](const Introduce&) {
                   welcomed_ = false;
                   say_hello(actions);
                 },
                 [&](const Refuse& refuse) { actions.exit = WorkerExit{kExitRefused, refuse.reason}; },
                 [&](const Dismiss& dismiss) { actions.exit = WorkerExit{0, dismiss.reason}; },
                 [&](const Work& work) {
                   if (knows(work.lease)) return;  // delivered twice
                   queue_.push_back(work);
                   ask_for_documents(now, actions);
                   start_next(actions);
                 },
                 [&](const Revoke& revoke) {
                   std::erase_if(queue_, [&](const Work& work) { return work.lease == revoke.lease; });
                   unacknowledged_.erase(revoke.lease);
                   if (running_ == revoke.lease) running_revoked_ = true;
                 },
                 [&](const DocumentData& data) {
                   keep_document(data);
                   start_next(actions);
                 },
                 [&](const Acknowledge& acknowledge) { unacknowledged_.erase(acknowledge.lease); }, [](const Pong&) {}},
      message);
  return actions;
}

WorkerActions WorkerProtocol::tick(std::int64_t progress, const Now& now) {
  WorkerActions actions;
  // Whatever a tick says is answered, by a welcome or a pong, before the next tick.
  actions.unanswered = silence_.due(!std::exchange(answered_, false), now.steady);
  if (!welcomed_) {
    say_hello(actions);
    return actions;
  }
  actions.send.push_back(Heartbeat{sender_, progress, held()});
  if (now.steady - last_sent_again_ >= kSendAgain) {
    last_sent_again_ = now.steady;
    if (held().empty()) announce_ready(actions);  // a lost one would leave this worker idle for good
    for (const auto& [lease, report] : unacknowledged_) actions.send.push_back(report);
  }
  ask_for_documents(now, actions);
  return actions;
}

WorkerActions WorkerProtocol::model_loaded(const std::string& model_digest, const std::string& device,
                                           std::int64_t threads) {
  WorkerActions actions;
  loading_ = false;
  ready_ = Ready{sender_, model_digest, device, threads};
  announce_ready(actions);
  return actions;
}

WorkerActions WorkerProtocol::model_failed(const std::string& reason) {
  WorkerActions actions;
  actions.send.push_back(Unable{sender_, reason});
  actions.exit = WorkerExit{kExitRefused, reason};
  return actions;
}

WorkerActions WorkerProtocol::scored(const ScoreResult& result) {
  if (!std::isfinite(result.nll_sum)) return failed(EvaluationError::kNonFinite, "NLL is not finite");
  const auto is_finite = [](double value) { return std::isfinite(value); };
  if (!std::ranges::all_of(result.gradient, is_finite)) {
    return failed(EvaluationError::kNonFinite, "the gradient is not finite");
  }
  WorkerActions actions;
  report(*running_, Result{sender_, *running_, result}, actions);
  finish_running(actions);
  return actions;
}

WorkerActions WorkerProtocol::failed(EvaluationError error, const std::string& detail) {
  WorkerActions actions;
  report(*running_, Failure{sender_, *running_, static_cast<std::int64_t>(error), detail}, actions);
  finish_running(actions);
  return actions;
}

std::chrono::milliseconds WorkerProtocol::tick_interval() const {
  return welcomed_ ? std::chrono::milliseconds(session_->heartbeat_milliseconds) : kHelloInterval;
}

bool WorkerProtocol::knows(const LeaseId& lease) const {
  return running_ == lease || unacknowledged_.contains(lease) ||
         std::ranges::find(queue_, lease, &Work::lease) != queue_.end();
}

std::vector<LeaseId> WorkerProtocol::held() const {
  std::vector<LeaseId> leases;
  if (running_ && !running_revoked_) leases.push_back(*running_);
  for (const Work& work : queue_) leases.push_back(work.lease);
  for (const auto& [lease, report] : unacknowledged_) leases.push_back(lease);
  return leases;
}

void WorkerProtocol::say_hello(WorkerActions& actions) const {
  actions.send.push_back(Hello{sender_, host_, threads_, held()});
}

void WorkerProtocol::announce_ready(WorkerActions& actions) {
  // While revoked work still occupies the compute thread (it may hang) no new work is asked for.
  if (welcomed_ && ready_ && !running_revoked_) actions.send.push_back(*ready_);
}

void WorkerProtocol::start_next(WorkerActions& actions) {
  if (running_ || !ready_) return;
  const auto next =
      std::ranges::find_if(queue_, [&](const Work& work) { return documents_.contains(work.document_digest); });
  if (next == queue_.end()) return;
  running_ = next->lease;
  running_revoked_ = false;
  actions.score = ScoreDocument{*next, documents_.at(next->document_digest)};
  queue_.erase(next);
}

void WorkerProtocol::report(const LeaseId& lease, WorkerMessage message, WorkerActions& actions) {
  if (running_revoked_) return;
  if (welcomed_) actions.send.push_back(message);
  unacknowledged_.insert_or_assign(lease, std::move(message));
}

void WorkerProtocol::finish_running(WorkerActions& actions) {
  running_.reset();
  if (std::exchange(running_revoked_, false)) announce_ready(actions);
  start_next(actions);
}

void WorkerProtocol::ask_for_documents(const Now& now, WorkerActions& actions) {
  std::erase_if(requests_, [&](const auto& request) {
    return documents_.contains(request.first) ||
           std::ranges::find(queue_, request.first, &Work::document_digest) == queue_.end();
  });
  for (const Work& work : queue_) {
    if (documents_.contains(work.document_digest)) continue;
    DocumentRequest& request =
        requests_.try_emplace(work.document_digest, DocumentRequest{now.steady, kSendAgain}).first->second;
    if (now.steady < request.due) continue;
    actions.send.push_back(NeedDocument{sender_, work.document_digest});
    request.due = now.steady + request.interval;
    request.interval = std::min<std::chrono::milliseconds>(2 * request.interval, kAskAgainAtMost);
  }
}

void WorkerProtocol::keep_document(const DocumentData& data) {
  if (digest(data.document) != data.digest || documents_.contains(data.digest)) return;
  documents_.emplace(data.digest, std::make_shared<const Document>(data.document));
  document_order_.push_back(data.digest);
  if (document_order_.size() > kDocumentsKept) {
    documents_.erase(document_order_.front());
    document_order_.pop_front();
  }
}

}  // namespace longrope
