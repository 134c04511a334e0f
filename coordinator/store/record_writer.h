#pragma once

#include "coordinator/core/records.h"

#include <SQLiteCpp/SQLiteCpp.h>

namespace longrope {

/// Upserts records by their keys, with statements prepared once. Transactions are the caller's. `write` throws
/// SQLite::Exception, or Error for a number that is not finite (SQLite would store NULL). Not thread-safe.
class RecordWriter {
 public:
  /// `database` has the current schema and outlives the writer.
  explicit RecordWriter(SQLite::Database& database);

  void write(const Write& record);

 private:
  void write_row(const StageRecord& stage);
  void write_row(const CandidateRecord& candidate);
  void write_row(const EvaluationRecord& evaluation);
  void write_row(const LeaseRecord& lease);
  void write_row(const LateResultRecord& late);
  void write_row(const WorkerRecord& worker);

  SQLite::Statement stage_;
  SQLite::Statement factors_;
  SQLite::Statement candidate_;
  SQLite::Statement parent_;
  SQLite::Statement surplus_parents_;
  SQLite::Statement candidate_evaluation_;
  SQLite::Statement evaluation_;
  SQLite::Statement lease_;
  SQLite::Statement late_result_;
  SQLite::Statement worker_;
};

}  // namespace longrope
