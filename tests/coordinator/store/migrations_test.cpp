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
  EXPECT_EQ(schema_version(*database_), 3);
  EXPECT_EQ(database_->execAndGet("PRAGMA application_id").getInt(), kApplicationId);
  EXPECT_FALSE(std::filesystem::exists(backup_file(file_, 0)));
}

TEST_F(MigrationsTest, OlderSchemaIsBackedUpThenMigrated) {
  migrate(*database_, file_, std::span(kSteps).first(1));
  database_->exec("INSERT INTO shelf VALUES ('atlas')");
  migrate(*database_, file_, kSteps);
  EXPECT_EQ(schema_version(*database_), 3);
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
  EXPECT_EQ(schema_version(*database_), 3);
}

TEST_F(MigrationsTest, CurrentSchemaIsLeftAlone) {
  migrate(*database_, file_, kSteps);
  migrate(*database_, file_, kSteps);
  EXPECT_FALSE(std::filesystem::exists(backup_file(file_, 2)));
}

TEST_F(MigrationsTest, NewerSchemaIsRefused) {
  migrate(*database_, file_, kSteps);
  EXPECT_THROW(migrate(*database_, file_, std::span(kSteps).first(1)), InputError);
  EXPECT_EQ(schema_version(*database_), 3);
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
