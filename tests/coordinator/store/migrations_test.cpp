#include "coordinator/store/migrations.h"

#include "common/error.h"
#include "coordinator/store/database_file.h"
#include "coordinator/store/migrate_search.h"
#include "coordinator/store/store_reader.h"
#include "tests/coordinator/store/sample_search.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

constexpr std::array kSteps = {
    Migration{1, "CREATE TABLE shelf (book TEXT) STRICT"},
    Migration{2, "ALTER TABLE shelf ADD COLUMN pages INTEGER; UPDATE shelf SET pages = 7"},
};
constexpr std::array kBrokenSteps = {
    kSteps[0],
    Migration{2, "ALTER TABLE shelf ADD COLUMN pages INTEGER; INSERT INTO absent VALUES (1)"},
};

class MigrationsTest : public testing::Test {
 protected:
  std::filesystem::path file_ = sample::fresh_directory() / "search.db";
  std::unique_ptr<SQLite::Database> database_ = open_for_writing(file_);
};

TEST_F(MigrationsTest, EmptyDatabaseGetsTheLastSchemaWithoutBackup) {
  migrate(*database_, file_, kSteps);
  EXPECT_EQ(schema_version(*database_), 2);
  EXPECT_EQ(database_->execAndGet("PRAGMA application_id").getInt(), kApplicationId);
  EXPECT_FALSE(std::filesystem::exists(backup_file(file_, 0)));
}

TEST_F(MigrationsTest, OlderSchemaIsBackedUpThenMigrated) {
  migrate(*database_, file_, std::span(kSteps).first(1));
  database_->exec("INSERT INTO shelf VALUES ('atlas')");
  migrate(*database_, file_, kSteps);
  EXPECT_EQ(schema_version(*database_), 2);
  EXPECT_EQ(database_->execAndGet("SELECT pages FROM shelf WHERE book = 'atlas'").getInt(), 7);

  SQLite::Database backup(backup_file(file_, 1).string(), SQLite::OPEN_READONLY);
  EXPECT_EQ(schema_version(backup), 1);
  EXPECT_EQ(backup.execAndGet("PRAGMA application_id").getInt(), kApplicationId);
  EXPECT_EQ(backup.execAndGet("SELECT group_concat(book) FROM shelf").getString(), "atlas");
}

TEST_F(MigrationsTest, FailedMigrationLeavesTheOlderSchema) {
  migrate(*database_, file_, std::span(kSteps).first(1));
  database_->exec("INSERT INTO shelf VALUES ('atlas')");
  EXPECT_THROW(migrate(*database_, file_, kBrokenSteps), Error);
  EXPECT_EQ(schema_version(*database_), 1);
  EXPECT_EQ(database_->execAndGet("SELECT count(*) FROM pragma_table_info('shelf')").getInt(), 1);
  migrate(*database_, file_, kSteps);
  EXPECT_EQ(schema_version(*database_), 2);
}

TEST_F(MigrationsTest, CurrentSchemaIsLeftAlone) {
  migrate(*database_, file_, kSteps);
  migrate(*database_, file_, kSteps);
  EXPECT_FALSE(std::filesystem::exists(backup_file(file_, 2)));
}

TEST_F(MigrationsTest, NewerSchemaIsRefused) {
  migrate(*database_, file_, kSteps);
  EXPECT_THROW(migrate(*database_, file_, std::span(kSteps).first(1)), InputError);
  EXPECT_EQ(schema_version(*database_), 2);
}

TEST_F(MigrationsTest, SearchFromBeforeThereWereFinalDocumentsKeepsItsRows) {
  migrate(*database_, file_, embedded_migrations().first(1));
  database_->exec(
      "BEGIN;"
      "INSERT INTO stage VALUES (1, '128k', 8192, 4, 'finished', 'budget', '', 2, 5, NULL, NULL);"
      "INSERT INTO factors VALUES ('f', '[1.5]', 0, 1.25);"
      "INSERT INTO candidate VALUES (2, 1, 'search', 0, 'seed:yarn', 'f', NULL, 0, 'su', 'told', 1.0, 1.5, NULL);"
      "INSERT INTO document VALUES ('d', 'a', 'x', 9000);"
      "INSERT INTO stage_document VALUES (1, 'search', 0, 'd', 100), (1, 'heldout', 0, 'd', 50);"
      "INSERT INTO evaluation (id, hash, kind, factors, document, length, cost_passes, state, epoch, failures, error,"
      " nll_sum, scored_tokens, blocks, seconds, peak_memory_bytes)"
      " VALUES (1, 'h', 'score', 'f', 'd', 8192, 1, 'scored', 1, 0, '', 75, 50, '[[75,50]]', 1, 1); COMMIT");
  migrate(*database_, file_, embedded_migrations());
  const auto value = [&](const char* query) { return database_->execAndGet(query).getString(); };
  EXPECT_EQ(value("SELECT group_concat(purpose || position || document || scored_tokens) FROM stage_document"),
            "heldout0d50,search0d100");
  EXPECT_EQ(value("SELECT winner_k || state || judging_evaluations || judging_scored FROM v_progress"), "0finished01");
  EXPECT_EQ(value("SELECT final || origin || (final_perplexity IS NULL) FROM v_best"), "1seed:yarn1");
  EXPECT_EQ(value("SELECT method || purpose || nll_sum FROM v_judged"), "winnerheldout75.0");
  EXPECT_EQ(value("SELECT count(*) FROM pragma_foreign_key_check"), "0");
  database_->exec("INSERT INTO stage_document VALUES (1, 'final', 0, 'd', 50)");
  EXPECT_THROW(database_->exec("INSERT INTO stage_document VALUES (1, 'other', 0, 'd', 50)"), SQLite::Exception);
}

/// All rows of a query, as text.
std::vector<std::string> rows_of(const SQLite::Database& database, const std::string& query) {
  SQLite::Statement row(database, query);
  std::vector<std::string> rows;
  while (row.executeStep()) {
    std::string& text = rows.emplace_back();
    for (int column = 0; column < row.getColumnCount(); ++column) {
      text += row.getColumn(column).isNull() ? "NULL" : row.getColumn(column).getString();
      text += '|';
    }
  }
  return rows;
}

TEST_F(MigrationsTest, SearchFromBeforeThereWereGradientsGetsItsEvaluationsAndKeepsItsHistory) {
  migrate(*database_, file_, embedded_migrations().first(2));
  // Two stages that search on the same document at the same length; a told, a quarantined, a cancelled and an open
  // candidate, and a baseline.
  database_->exec(
      "BEGIN;"
      "INSERT INTO stage (id, name, target_length, budget, state, end_detail, active_milliseconds)"
      " VALUES (1, '8k', 8192, 4, 'searching', '', 5), (2, '8k-again', 8192, 4, 'searching', '', 5);"
      "INSERT INTO document VALUES ('d0', 'a', 'x', 9000), ('d1', 'b', 'x', 9000), ('h', 'c', 'y', 9000);"
      "INSERT INTO stage_document VALUES (1, 'search', 0, 'd1', 100), (1, 'search', 1, 'd0', 300),"
      " (1, 'heldout', 0, 'h', 50), (2, 'search', 0, 'd0', 300), (2, 'heldout', 0, 'd1', 100);"
      "INSERT INTO factors VALUES ('f', '[1.5]', 0, 1.25), ('g', '[1.75]', 0, 1.25), ('u', '[1.0]', 0, 1.0),"
      " ('o', '[2.0]', 0, 1.25);"
      "INSERT INTO candidate VALUES"
      " (1, 1, 'search', 0, 'seed:yarn', 'f', NULL, 0, 'su', 'told', 1.125, 1.5, 77, NULL),"
      " (2, 1, 'search', 1, 'mutation', 'g', NULL, 0, 'su', 'quarantined', NULL, NULL, 78, NULL),"
      " (3, 1, 'search', 2, 'mutation', 'u', NULL, 0, 'none', 'cancelled', NULL, NULL, NULL, NULL),"
      " (4, 1, 'baseline', 0, 'none', 'u', NULL, 0, 'none', 'open', NULL, NULL, NULL, NULL),"
      " (5, 2, 'search', 0, 'seed:pi', 'f', NULL, 0, 'su', 'told', 1.1, NULL, 79, NULL),"
      " (6, 2, 'search', 1, 'mutation', 'o', NULL, 0, 'su', 'open', NULL, NULL, NULL, NULL);"
      "INSERT INTO candidate_parent VALUES (2, 0, 1), (3, 0, 1);"
      "INSERT INTO evaluation (id, hash, kind, factors, document, length, cost_passes, state, epoch, failures, error,"
      " worker, nll_sum, scored_tokens, blocks, seconds, peak_memory_bytes) VALUES"
      " (1, '1', 'score', 'f', 'd1', 8192, 1, 'scored', 1, 0, '', 'w1', 120, 100, '[[120,100]]', 1, 1),"
      " (2, '2', 'score', 'f', 'd0', 8192, 1, 'scored', 1, 0, '', 'w2', 330, 300, '[[330,300]]', 2, 1),"
      " (3, '3', 'score', 'g', 'd1', 8192, 1, 'scored', 1, 0, '', 'w1', 99, 100, '[[99,100]]', 1, 1),"
      " (4, '4', 'score', 'g', 'd0', 8192, 1, 'failed', 3, 3, 'nan', 'w1', NULL, NULL, NULL, NULL, NULL),"
      " (5, '5', 'score', 'u', 'd1', 8192, 1, 'cancelled', 0, 0, '', NULL, NULL, NULL, NULL, NULL, NULL),"
      " (6, '6', 'score', 'u', 'd0', 8192, 1, 'cancelled', 0, 0, '', NULL, NULL, NULL, NULL, NULL, NULL),"
      " (7, '7', 'score', 'f', 'h', 8192, 1, 'scored', 1, 0, '', 'w1', 75, 50, '[[75,50]]', 1, 1),"
      " (8, '8', 'score', 'f', 'd1', 4096, 1, 'scored', 1, 0, '', 'w1', 75, 50, '[[75,50]]', 1, 1),"
      " (9, '9', 'score', 'o', 'd0', 8192, 1, 'pending', 0, 0, '', NULL, NULL, NULL, NULL, NULL, NULL); COMMIT");
  const std::vector<std::string> views = {"v_history", "v_progress", "v_best", "v_judged", "v_lineage"};
  std::map<std::string, std::vector<std::string>> before;
  for (const std::string& view : views) before[view] = rows_of(*database_, "SELECT * FROM " + view);
  ASSERT_EQ(before["v_history"].size(), 3U);
  migrate(*database_, file_, embedded_migrations());
  EXPECT_THAT(rows_of(*database_,
                      "SELECT candidate, position, evaluation FROM candidate_evaluation ORDER BY candidate, position"),
              testing::ElementsAre("1|0|1|", "1|1|2|", "2|0|3|", "2|1|4|", "3|0|5|", "3|1|6|", "5|0|2|", "6|0|9|"));
  for (const std::string& view : views) EXPECT_EQ(rows_of(*database_, "SELECT * FROM " + view), before[view]) << view;
  EXPECT_THAT(rows_of(*database_, "SELECT DISTINCT rung FROM candidate"), testing::ElementsAre("0|"));
  EXPECT_TRUE(rows_of(*database_, "PRAGMA foreign_key_check").empty());

  // The reader, which adds the documents up by itself, says what the earlier view said.
  const std::vector<HistoryRow> history = StoreReader(file_).history("8k");
  ASSERT_EQ(history.size(), 2U);
  EXPECT_EQ(history[0].nll_sum, 450.0);
  EXPECT_EQ(history[0].documents, 2);
  EXPECT_EQ(history[0].kind, "score");
  EXPECT_DOUBLE_EQ(history[0].best_so_far.value(), std::exp(1.125));
  EXPECT_EQ(history[1].nll_sum, std::nullopt);
  EXPECT_EQ(StoreReader(file_).history("8k-again").at(0).nll_sum, 330.0);
}

TEST_F(MigrationsTest, SearchWithoutACoordinatorIsMigratedToBeRead) {
  migrate(*database_, file_, embedded_migrations().first(1));
  database_.reset();
  EXPECT_THROW((void)StoreReader(file_), InputError);
  migrate_search(file_);
  EXPECT_TRUE(std::filesystem::exists(backup_file(file_, 1)));
  EXPECT_TRUE(StoreReader(file_).judged_stages().empty());
  std::filesystem::remove(backup_file(file_, 1));
  migrate_search(file_);
  EXPECT_FALSE(std::filesystem::exists(backup_file(file_, 1))) << "it has the last schema";
}

TEST_F(MigrationsTest, EmbeddedVersionsRunFromOneWithoutGaps) {
  int expected = 1;
  for (const Migration& migration : embedded_migrations()) EXPECT_EQ(migration.version, expected++);
  EXPECT_GT(expected, 1);
  migrate(*database_, file_, embedded_migrations());
  EXPECT_EQ(schema_version(*database_), expected - 1);
}

}  // namespace
}  // namespace longrope
