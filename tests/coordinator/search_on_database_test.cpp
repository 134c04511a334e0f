#include "coordinator/store/store.h"
#include "tests/support/prepared_fixture.h"
#include "tests/support/row_store.h"
#include "tests/support/search_fixture.h"
#include "tests/support/search_history.h"
#include "tests/support/search_simulator.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

SearchPlan judged(SearchPlan plan) { return with_final_documents(within_reach(std::move(plan))); }

/// The real database, closed and opened again with every coordinator process.
class StoredRows final : public DurableRows {
 public:
  StoredRows(std::filesystem::path file, const SearchPlan& plan) : file_(std::move(file)) {
    run_.name = "simulation";
    run_.trajectory_settings = "{}";
    run_.model_name = plan.model_name;
    run_.model_digest = plan.model_digest;
    run_.dtype = "fp32";
    run_.angles = "fp64";
    for (const PlannedStage& stage : plan.stages) {
      StageRecord record;
      record.id = static_cast<std::int64_t>(run_.stages.size()) + 1;
      record.name = stage.config.name;
      record.target_length = stage.config.target_length;
      record.budget = static_cast<std::int64_t>(stage.budget);
      add_documents(record.id, DocumentPurpose::kSearch, stage.search);
      add_documents(record.id, DocumentPurpose::kHeldout, stage.heldout);
      add_documents(record.id, DocumentPurpose::kFinal, stage.final_documents);
      run_.stages.push_back(std::move(record));
    }
  }
  void restart() override {
    store_.reset();
    store_ = std::make_unique<Store>(file_, run_);
  }
  void apply(std::span<const Write> writes) override { store_->apply(writes); }
  [[nodiscard]] Snapshot load() override { return store_->load(); }

 private:
  void add_documents(std::int64_t stage, DocumentPurpose purpose, const std::vector<PlannedDocument>& documents) {
    for (std::size_t order = 0; order < documents.size(); ++order) {
      run_.documents.push_back({.digest = documents[order].digest,
                                .name = "document",
                                .file = "file",
                                .tokens = kFixtureTargetLength,
                                .stage = stage,
                                .purpose = purpose,
                                .order = static_cast<std::int64_t>(order),
                                .scored_tokens = documents[order].scored_tokens});
    }
  }

  std::filesystem::path file_;
  RunRecord run_;
  std::unique_ptr<Store> store_;
};

/// Compares searches among faults, so many, with one without.
void expect_same_history(const SearchPlan& plan, std::uint64_t searches) {
  RowStore undisturbed;
  SearchSimulator reference(plan, undisturbed, /*workers=*/1, {}, /*seed=*/1);
  reference.unscorable = unscorable_pair;
  ASSERT_TRUE(reference.run());
  for (std::uint64_t seed = 1; seed <= searches; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    StoredRows rows(fresh_directory() / "search.db", plan);
    SearchSimulator simulator(plan, rows, /*workers=*/3, every_fault(), seed);
    simulator.unscorable = unscorable_pair;
    ASSERT_TRUE(simulator.run()) << "not finished in time";
    EXPECT_EQ(simulator.broken_promises(), std::vector<std::string>{});
    EXPECT_GT(simulator.coordinator_starts(), 1);
    ASSERT_EQ(search_history(rows.load()), search_history(undisturbed.load()));
  }
}

TEST(SearchOnDatabaseTest, FaultsDoNotChangeTheHistoryThatTheDatabaseKeeps) {
  expect_same_history(judged(small_plan(/*generational=*/false, /*stages=*/2)), 5);
}

TEST(SearchOnDatabaseTest, FaultsDoNotChangeTheHistoryOfASearchByGradients) {
  expect_same_history(judged(gradient_plan(/*stages=*/2)), 3);
}

}  // namespace
}  // namespace longrope
