#pragma once

#include "coordinator/core/records.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

namespace longrope {

/// Where a simulated coordinator keeps what survives it.
class DurableRows {
 public:
  virtual ~DurableRows() = default;
  /// Another process opens them.
  virtual void restart() {}
  virtual void apply(std::span<const Write> writes) = 0;
  [[nodiscard]] virtual Snapshot load() = 0;
  [[nodiscard]] virtual EvaluationRecord evaluation(std::int64_t id) {
    return load().evaluations.at(static_cast<std::size_t>(id - 1));
  }
};

/// Rows in memory, upserted by key as the database does it. A scored evaluation that changes fails the test, and a
/// candidate that asks for others.
class RowStore final : public DurableRows {
 public:
  void apply(std::span<const Write> writes) override {
    for (const Write& write : writes) std::visit([this](const auto& row) { put(row); }, write);
  }

  [[nodiscard]] Snapshot load() override {
    Snapshot snapshot;
    for (const auto& [key, row] : stages) snapshot.stages.push_back(row);
    for (const auto& [key, row] : candidates) snapshot.candidates.push_back(row);
    for (const auto& [key, row] : evaluations) snapshot.evaluations.push_back(row);
    for (const auto& [key, row] : leases) {
      if (!row.end) snapshot.open_leases.push_back(row);
    }
    for (const auto& [key, row] : workers) snapshot.workers.push_back(row);
    return snapshot;
  }

  [[nodiscard]] EvaluationRecord evaluation(std::int64_t id) override { return evaluations.at(id); }

  std::map<std::int64_t, StageRecord> stages;
  std::map<std::int64_t, CandidateRecord> candidates;
  std::map<std::int64_t, EvaluationRecord> evaluations;
  std::map<std::pair<std::int64_t, std::int64_t>, LeaseRecord> leases;
  std::map<std::tuple<std::int64_t, std::int64_t, std::string>, LateResultRecord> late_results;
  std::map<std::string, WorkerRecord> workers;

 private:
  void put(const StageRecord& row) { stages[row.id] = row; }
  void put(const CandidateRecord& row) {
    const auto [stored, is_new] = candidates.try_emplace(row.id, row);
    EXPECT_EQ(row.evaluations, stored->second.evaluations) << "candidate " << row.id;
    EXPECT_EQ(row.rung, stored->second.rung) << "candidate " << row.id;
    if (!is_new) stored->second = row;
  }
  void put(const EvaluationRecord& row) {
    EvaluationRecord& stored = evaluations[row.id];
    if (stored.state == EvaluationState::kScored) {
      EXPECT_EQ(row.state, EvaluationState::kScored) << "evaluation " << row.id;
      EXPECT_TRUE(row.result && row.result->same_result(*stored.result)) << "evaluation " << row.id;
    }
    EXPECT_EQ(row.state == EvaluationState::kScored, row.result.has_value()) << "evaluation " << row.id;
    EXPECT_GE(row.epoch, stored.epoch) << "evaluation " << row.id;
    stored = row;
  }
  void put(const LeaseRecord& row) { leases[{row.evaluation, row.epoch}] = row; }
  void put(const LateResultRecord& row) { late_results[{row.evaluation, row.epoch, row.worker}] = row; }
  void put(const WorkerRecord& row) { workers[row.id] = row; }
};

}  // namespace longrope
