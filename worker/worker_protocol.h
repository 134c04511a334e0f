#pragma once

#include "common/clock.h"
#include "common/documents/documents.h"
#include "common/wait_notice.h"
#include "common/wire/messages.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// A job of the compute thread, which does one at a time: loading a model or scoring a document.
struct LoadModel {
  Welcome session;
};
struct ScoreDocument {
  Work work;
  std::shared_ptr<const Document> document;
};

/// Why the worker process ends: its exit status and the reason, for people.
struct WorkerExit {
  int status = 0;
  std::string reason;
};

/// What the worker's loop has to do after an event, in this order.
struct WorkerActions {
  std::vector<WorkerMessage> send;
  std::optional<LoadModel> load;
  std::optional<ScoreDocument> score;
  std::optional<WorkerExit> exit;
  std::optional<std::chrono::milliseconds> unanswered = std::nullopt;  // how long no coordinator has answered, when due
};

/// The worker's half of the wire protocol (schemas/wire_format.md) as a pure state machine: no threads, no sockets, no
/// Torch. Results are kept and sent again until acknowledged, also to a coordinator that was started again meanwhile.
/// Not thread-safe: the worker's loop owns it.
class WorkerProtocol {
 public:
  /// `threads` 0: as the coordinator says.
  WorkerProtocol(Sender sender, std::string host, std::int64_t threads);

  [[nodiscard]] WorkerActions receive(const CoordinatorMessage& message, const Now& now);
  /// Says hello until welcomed, then heartbeats and repeats what is not acknowledged. `progress`: the compute loop's
  /// count. Reports a coordinator from which nothing has come, by the rule of WaitNotice.
  [[nodiscard]] WorkerActions tick(std::int64_t progress, const Now& now);

  [[nodiscard]] WorkerActions model_loaded(const std::string& model_digest, const std::string& device,
                                           std::int64_t threads);
  [[nodiscard]] WorkerActions model_failed(const std::string& reason);
  /// The document that is being scored gave `result`, or failed. A non-finite result is reported as the error
  /// kNonFinite.
  [[nodiscard]] WorkerActions scored(const ScoreResult& result);
  [[nodiscard]] WorkerActions failed(EvaluationError error, const std::string& detail);

  [[nodiscard]] Leaving leave() const { return {sender_}; }
  /// When tick is due next.
  [[nodiscard]] std::chrono::milliseconds tick_interval() const;

 private:
  struct DocumentRequest {
    std::chrono::milliseconds due{0};       // when it is sent next, by the monotonic clock
    std::chrono::milliseconds interval{0};  // until it is sent again
  };

  [[nodiscard]] bool knows(const LeaseId& lease) const;
  [[nodiscard]] std::vector<LeaseId> held() const;
  void say_hello(WorkerActions& actions) const;
  void announce_ready(WorkerActions& actions);
  void start_next(WorkerActions& actions);
  void report(const LeaseId& lease, WorkerMessage message, WorkerActions& actions);
  void finish_running(WorkerActions& actions);
  void keep_document(const DocumentData& data);
  void ask_for_documents(const Now& now, WorkerActions& actions);

  Sender sender_;
  std::string host_;
  std::int64_t threads_;
  std::optional<Welcome> session_;  // the session whose model is loaded or being loaded
  bool welcomed_ = false;           // whether the coordinator process that runs now has welcomed this worker
  std::optional<Ready> ready_;      // once the model is loaded
  bool loading_ = false;
  std::optional<LeaseId> running_;
  bool running_revoked_ = false;
  std::deque<Work> queue_;
  std::map<LeaseId, WorkerMessage> unacknowledged_;
  std::map<std::string, std::shared_ptr<const Document>> documents_;
  std::deque<std::string> document_order_;
  std::map<std::string, DocumentRequest> requests_;  // by digest: documents that queued work lacks
  std::chrono::milliseconds last_sent_again_{0};
  bool answered_ = false;  // since the last tick
  WaitNotice silence_;
};

}  // namespace longrope
