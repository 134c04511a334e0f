#pragma once

#include "common/documents/documents.h"
#include "common/wire/score_result.h"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace longrope {

// Every message is one frame: a MessagePack map with "type" and "version" and exactly the fields below (sequence,
// meaning and what dies with a lost peer: schemas/wire_format.md). `visit_fields` is the one list of a message's
// fields: packing and unpacking both walk it.

inline constexpr std::int64_t kProtocolVersion = 2;
inline constexpr std::size_t kMaxWorkerFrameBytes = std::size_t{1} << 20;        // what a coordinator accepts
inline constexpr std::size_t kMaxCoordinatorFrameBytes = std::size_t{64} << 20;  // what a worker accepts: documents

/// Who speaks: `worker` is stable over restarts, `incarnation` is random per process.
struct Sender {
  std::string worker;
  std::string incarnation;

  auto operator<=>(const Sender&) const = default;
};

/// A lease as both sides name it; the epoch is the fencing token.
struct LeaseId {
  std::int64_t evaluation = 0;
  std::int64_t epoch = 0;

  auto operator<=>(const LeaseId&) const = default;
};

// Messages of a worker to the coordinator.
// ------------------------------------------------------------------------------------------

struct Hello {
  static constexpr const char* kType = "hello";
  Sender sender;
  std::string host;
  std::int64_t threads = 0;   // threads the worker computes with; 0: the coordinator decides
  std::vector<LeaseId> held;  // leases of an earlier coordinator process: running, or with an unacknowledged result
};

/// The model is loaded.
struct Ready {
  static constexpr const char* kType = "ready";
  Sender sender;
  std::string model_digest;
  std::string device;  // device, compute dtype, library versions
  std::int64_t threads = 0;
};

/// The worker cannot serve this search (no such model, cannot load it) and leaves.
struct Unable {
  static constexpr const char* kType = "unable";
  Sender sender;
  std::string reason;
};

/// The worker asks for a document that it has work for and does not hold.
struct NeedDocument {
  static constexpr const char* kType = "need_document";
  Sender sender;
  std::string digest;
};

/// The worker is alive. Sent every heartbeat_milliseconds of Welcome.
struct Heartbeat {
  static constexpr const char* kType = "heartbeat";
  Sender sender;
  std::int64_t progress = 0;  // tiles that the compute loop has finished since the process began
  std::vector<LeaseId> held;  // as in Hello
};

/// A lease's evaluation is done. Sent again until it is acknowledged.
struct Result {
  static constexpr const char* kType = "result";
  Sender sender;
  LeaseId lease;
  ScoreResult score;
};

/// A lease's evaluation gave no result. Sent again until it is acknowledged.
struct Failure {
  static constexpr const char* kType = "failure";
  Sender sender;
  LeaseId lease;
  std::int64_t error = 0;  // EvaluationError
  std::string detail;
};

/// The worker stops; what it holds may be given to others.
struct Leaving {
  static constexpr const char* kType = "leaving";
  Sender sender;
};

using WorkerMessage = std::variant<Hello, Ready, Unable, NeedDocument, Heartbeat, Result, Failure, Leaving>;

// Messages of the coordinator to a worker.
// ------------------------------------------------------------------------------------------

/// Answer to Hello: what the worker is to load and how to compute. It answers Ready or Unable.
struct Welcome {
  static constexpr const char* kType = "welcome";
  std::string model_name;  // directory under the worker's --model-root
  std::string model_digest;
  std::string dtype;
  std::string angles;
  std::int64_t threads = 0;
  std::int64_t heartbeat_milliseconds = 0;
};

/// Answer to a peer that this coordinator process does not know: it should say Hello.
struct Introduce {
  static constexpr const char* kType = "introduce";
};

/// The coordinator does not want the worker, and says why. The worker exits.
struct Refuse {
  static constexpr const char* kType = "refuse";
  std::string reason;
};

/// One evaluation, leased to the worker.
struct Work {
  static constexpr const char* kType = "work";
  LeaseId lease;
  std::int64_t kind = 0;       // EvaluationKind
  std::vector<double> lambda;  // [rotary_dim / 2]
  std::int64_t n_hat = 0;      // leading positions with the original angles
  double attention_factor = 1.0;
  std::string document_digest;
  std::int64_t length = 0;  // tokens of the document to score
};

/// The lease has ended: stop or drop this work, send no result.
struct Revoke {
  static constexpr const char* kType = "revoke";
  LeaseId lease;
};

/// Answer to NeedDocument.
struct DocumentData {
  static constexpr const char* kType = "document";
  std::string digest;
  Document document;
};

/// The result or failure is on disk, or will never be wanted: forget it.
struct Acknowledge {
  static constexpr const char* kType = "acknowledge";
  LeaseId lease;
  std::string outcome;  // "stored", "duplicate", "late", "rejected"
  std::string detail;
};

/// Answer to Heartbeat.
struct Pong {
  static constexpr const char* kType = "pong";
};

/// The search is finished: the worker exits 0.
struct Dismiss {
  static constexpr const char* kType = "dismiss";
  std::string reason;
};

using CoordinatorMessage =
    std::variant<Welcome, Introduce, Refuse, Work, Revoke, DocumentData, Acknowledge, Pong, Dismiss>;

[[nodiscard]] std::string encode(const WorkerMessage& message);
[[nodiscard]] std::string encode(const CoordinatorMessage& message);

/// Throw InputError for anything that is not exactly one well-formed message of this protocol version: garbage,
/// trailing bytes, unknown type, missing, unknown or mistyped field, a string, array or nesting over the limits. Memory
/// stays within a small multiple of the frame.
[[nodiscard]] WorkerMessage decode_worker_message(std::string_view frame);
[[nodiscard]] CoordinatorMessage decode_coordinator_message(std::string_view frame);

/// The worker that sent the message.
[[nodiscard]] const Sender& sender_of(const WorkerMessage& message);

}  // namespace longrope
