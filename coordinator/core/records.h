#pragma once

#include "common/rope/rescale_factors.h"
#include "common/wire/score_result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace longrope {

// The rows of the search. The core emits a changed row whole, the store upserts it by its key, and a restart reads the
// same rows back: one shape in both directions. Enum numbers are on disk: never reuse one. Times are Unix milliseconds
// and serve people only; nothing is decided by them.

enum class StageState { kPending = 0, kSearching = 1, kChoosing = 2, kFinished = 3 };
/// The stop rule that ended a stage's search.
enum class StageEnd { kBudget = 1, kConverged = 2, kTimeLimit = 3, kExhausted = 4 };

struct StageRecord {
  std::int64_t id = 0;  // 1, 2, … in configuration order
  std::string name;
  std::int64_t target_length = 0;
  std::int64_t budget = 0;  // candidates at most
  StageState state = StageState::kPending;
  std::optional<StageEnd> end;
  std::string end_detail;  // "no relative improvement above 0.001 in the last 64 candidates (best 41, told 105)"
  std::optional<std::int64_t> winner;    // candidate id
  std::int64_t active_milliseconds = 0;  // time spent searching, over all restarts
  std::int64_t started_at = 0;
  std::int64_t ended_at = 0;
  /// Evaluations that finalists, winner and baselines need on held-out and final documents; before the search has ended
  /// how many they will be.
  std::int64_t judging_evaluations = 0;
  /// Tokens that the checkpoint reaches by itself, where the winner's attention factor is compared with the
  /// checkpoint's own; 0: nothing is scored there.
  std::int64_t original_length = 0;
};

enum class CandidateRole { kSearch = 0, kBaseline = 1 };
/// In life order. A cancelled candidate was asked but the stage ended before it was told.
enum class CandidateState { kOpen = 0, kTold = 1, kQuarantined = 2, kCancelled = 3 };

struct CandidateRecord {
  std::int64_t id = 0;
  std::int64_t stage = 0;
  CandidateRole role = CandidateRole::kSearch;
  std::int64_t index = 0;  // k within (stage, role)
  std::string origin;      // "seed:yarn", "mutation", …; for baselines that of coordinator/search/baselines.h
  std::vector<std::int64_t> parents;      // indices k of search candidates
  std::vector<std::int64_t> evaluations;  // ids of those that the search asked for; baselines: none
  std::int64_t rung = 0;                  // Candidate::rung
  RescaleFactors factors;
  std::string factors_digest;
  CandidateState state = CandidateState::kOpen;
  std::optional<double> search_mean_nll;   // nats per scored token over the search documents that it was asked for
  std::optional<double> heldout_mean_nll;  // finalists and baselines
  std::optional<double> final_mean_nll;    // the winner and baselines, where the stage has final documents
  std::int64_t told_at = 0;
};

/// In life order (design §3).
enum class EvaluationState { kPending = 0, kLeased = 1, kScored = 2, kFailed = 3, kCancelled = 4 };

/// The scoring of one document under one factor set; unique by `hash`, whichever candidates and stages need it.
struct EvaluationRecord {
  std::int64_t id = 0;
  std::string hash;
  EvaluationKind kind = EvaluationKind::kScore;
  std::string factors_digest;
  std::string document_digest;
  std::int64_t length = 0;
  double cost_passes = 1.0;  // document passes, counted when scored
  EvaluationState state = EvaluationState::kPending;
  std::int64_t epoch = 0;     // of the latest lease; 0: never leased
  std::int64_t failures = 0;  // answered with an error
  std::string worker;         // of the latest lease
  std::optional<ScoreResult> result;
  std::string error;  // message of the latest failure
  std::int64_t scored_at = 0;
};

enum class LeaseEnd { kScored = 1, kFailed = 2, kRejected = 3, kExpired = 4, kReleased = 5 };

struct LeaseRecord {
  std::int64_t evaluation = 0;  // key: (evaluation, epoch)
  std::int64_t epoch = 0;
  std::string worker;
  std::string incarnation;
  std::int64_t granted_at = 0;
  std::int64_t ended_at = 0;
  std::optional<LeaseEnd> end;
  std::string detail;
};

/// A result under a stale epoch: never changes state, is kept and compared.
struct LateResultRecord {
  std::int64_t evaluation = 0;
  std::int64_t epoch = 0;
  std::string worker;
  ScoreResult result;
  std::optional<bool> same_as_stored;  // nullopt: nothing stored yet
  std::int64_t received_at = 0;
};

enum class WorkerState { kConnected = 0, kLost = 1, kLeft = 2, kRefused = 3 };

struct WorkerRecord {
  std::string id;           // stable over restarts of the worker
  std::string incarnation;  // random per process
  WorkerState state = WorkerState::kConnected;
  std::string host;
  std::string device;  // device, compute dtype, library versions: provenance
  std::int64_t threads = 0;
  std::int64_t results = 0;
  std::int64_t failures = 0;
  double seconds = 0.0;  // spent scoring
  std::int64_t last_seen_at = 0;
  std::string detail;  // why refused or lost
};

using Write = std::variant<StageRecord, CandidateRecord, EvaluationRecord, LeaseRecord, LateResultRecord, WorkerRecord>;

/// Everything the core needs to go on after a restart. Vectors in key order; only the newest lease of each evaluation.
struct Snapshot {
  std::vector<StageRecord> stages;
  std::vector<CandidateRecord> candidates;
  std::vector<EvaluationRecord> evaluations;
  std::vector<LeaseRecord> open_leases;
  std::vector<WorkerRecord> workers;
};

}  // namespace longrope
