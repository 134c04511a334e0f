#include "common/formats/engine_tables.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kOriginal = 4096;

/// A table for each length, in which every λ is its number, counted from 1.
FactorsFile schedule_of(const std::vector<std::int64_t>& lengths) {
  FactorsFile file;
  for (const std::int64_t length : lengths) {
    const auto number = static_cast<double>(file.entries.size() + 1);
    FactorsFile::Entry& entry = file.entries.emplace_back();
    entry.id = std::to_string(length);
    entry.target_length = length;
    entry.factors = exact_factors({number, number}, 0, {AttentionPolicy::kNone, 1.0});
    file.schedule.push_back({.max_length = length, .factors_id = entry.id});
  }
  return file;
}

/// Numbers of the short and the long table.
std::pair<double, double> chosen(const FactorsFile& file) {
  const EngineTables tables = engine_tables(file, kOriginal, "f.json");
  return {tables.short_table->factors.lambda[0], tables.factors.lambda[0]};
}

/// A model of 2 pairs that was trained at kOriginal tokens and made for 8,192.
ModelDescription model() {
  ModelDescription model;
  model.geometry = {.rotary_dim = 4, .rope_theta = 1e4, .original_length = kOriginal};
  model.scaling.reached_length = 8192;
  return model;
}

EngineTables two_tables(std::int64_t short_length, std::int64_t target_length) {
  return {.factors = exact_factors({1.0, 4.0}, 0, {AttentionPolicy::kValue, 1.125}),
          .target_length = target_length,
          .short_table = EngineTables::ShortTable{
              .factors = exact_factors({1.0, 1.5}, 0, {AttentionPolicy::kNone, 1.0}), .max_length = short_length}};
}

std::string refusal_of(const EngineTables& tables) {
  return refusal([&] { require_expressible(tables, model()); });
}

TEST(EngineTablesTest, TwoScheduledTablesAreShortAndLong) {
  for (const std::int64_t short_length : {1024, 4096, 8192}) {  // below, at and above the original length
    const EngineTables tables = engine_tables(schedule_of({short_length, 131072}), kOriginal, "f.json");
    ASSERT_TRUE(tables.short_table);
    EXPECT_EQ(tables.short_table->max_length, short_length);
    EXPECT_EQ(tables.short_table->factors.lambda[0], 1.0);
    EXPECT_EQ(tables.factors.lambda[0], 2.0);
    EXPECT_EQ(tables.target_length, 131072);
    EXPECT_FALSE(tables_left_out(schedule_of({short_length, 131072}), kOriginal));
  }
}

TEST(EngineTablesTest, OfManyTablesThoseForTheOriginalAndTheTargetLengthAreTaken) {
  EXPECT_EQ(chosen(schedule_of({4096, 8192, 32768, 131072})), std::pair(1.0, 4.0));
  EXPECT_EQ(chosen(schedule_of({2048, 4096, 131072})), std::pair(2.0, 3.0));
  EXPECT_EQ(chosen(schedule_of({2048, 8192, 131072})), std::pair(2.0, 3.0));
  EXPECT_EQ(chosen(schedule_of({1024, 2048, 131072})), std::pair(2.0, 3.0)) << "the long table is not the short one";
  EXPECT_EQ(tables_left_out(schedule_of({4096, 8192, 131072}), kOriginal),
            "the schedule has 3 tables and engines take two: \"4096\" is exported for up to 4096 tokens and \"131072\" "
            "for longer ones, up to 131072; the other tables are left out");
}

TEST(EngineTablesTest, OneTableHasNoShortOne) {
  FactorsFile file = schedule_of({131072});
  for (const bool scheduled : {true, false}) {
    if (!scheduled) file.schedule.clear();
    EXPECT_FALSE(engine_tables(file, kOriginal, "f.json").short_table);
    EXPECT_EQ(engine_tables(file, kOriginal, "f.json").target_length, 131072);
    EXPECT_FALSE(tables_left_out(file, kOriginal));
  }
}

TEST(EngineTablesTest, SeveralTablesWithoutAScheduleAreRefused) {
  FactorsFile file = schedule_of({4096, 131072});
  file.schedule.clear();
  EXPECT_EQ(refusal([&] { (void)engine_tables(file, kOriginal, "f.json"); }),
            "factors must hold one entry, or a schedule: 2 without one (f.json)");
}

TEST(EngineTablesTest, ShortTableAllowsTheLengthThatTheModelReaches) {
  require_expressible(two_tables(kOriginal, 8192), model());
  EngineTables tables = two_tables(kOriginal, 8192);
  tables.short_table.reset();
  EXPECT_EQ(refusal_of(tables), "target length must be above the 8192 tokens that the model reaches: 8192");
}

TEST(EngineTablesTest, LengthsThatDoNotFitTheModelOrEachOtherAreRefused) {
  EXPECT_EQ(refusal_of(two_tables(kOriginal, 8191)),
            "target length must be at least the 8192 tokens that the model reaches: 8191");
  EXPECT_EQ(refusal_of(two_tables(16384, 16384)),
            "target length must be above the 16384 tokens of the short table: 16384");
  EXPECT_EQ(refusal_of(two_tables(1, 16384)), "length of the short table must be at least 2: 1");
}

TEST(EngineTablesTest, ShortTableIsHeldToTheRulesOfTheLongOne) {
  EngineTables tables = two_tables(kOriginal, 16384);
  tables.short_table->factors.n_hat = 4;
  EXPECT_THAT(refusal_of(tables), HasSubstr("search with n_hat = 0"));
  tables = two_tables(kOriginal, 16384);
  tables.short_table->factors.lambda.push_back(2.0);
  EXPECT_THAT(refusal_of(tables), HasSubstr("lambda must number 2: 3"));
}

TEST(EngineTablesTest, AttentionFactorsThatDifferAreRefusedWithAdviceWhereThereIsOne) {
  EngineTables tables = two_tables(kOriginal, 16384);
  EXPECT_THAT(refusal([&] { require_one_attention_factor(tables); }),
              HasSubstr("the long one's, 1.125, because the format has one for both: 1; search the short table with "
                        "attention_policies = [\"value\"] and attention_value = 1.125"));
  tables.short_table->factors.attention = {AttentionPolicy::kSu, 1.125};
  require_one_attention_factor(tables);
}

}  // namespace
}  // namespace longrope
