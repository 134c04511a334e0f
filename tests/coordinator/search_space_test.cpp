#include "coordinator/search_space.h"

#include "common/error.h"
#include "common/formats/factors_file.h"
#include "tests/support/prepared_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::HasSubstr;

/// The bundled model, trained at 512 tokens, and a search for 600.
class SearchSpaceTest : public testing::Test {
 protected:
  [[nodiscard]] std::string refusal(std::int64_t reached_length) const {
    try {
      require_search_possible(stage_, model_, reached_length, "stage 600, search.toml");
    } catch (const InputError& error) {
      return error.what();
    }
    return "(not refused)";
  }

  std::filesystem::path directory_ = fresh_directory();
  Config config_ = small_config(directory_);
  SearchStage& stage_ = search_of(config_.stages.front());
  ModelDescription model_ = describe_model(config_.model);
};

TEST_F(SearchSpaceTest, SearchOnTheModelItselfIsCheckedAsWhenItBegins) {
  EXPECT_EQ(refusal(512), "(not refused)");
  stage_.search.upper_bound = 1e9;
  EXPECT_THAT(refusal(512), HasSubstr("upper_bound must be at least 1"));
}

TEST_F(SearchSpaceTest, SearchOnACheckpointToComeIsMeasuredFromWhatItReaches) {
  EXPECT_EQ(refusal(560), "(not refused)");
  EXPECT_THAT(refusal(600), HasSubstr("target_length must exceed the model's 600 tokens: 600 (stage 600"));
  stage_.search.n_hat_choices = {0, 4};
  EXPECT_THAT(refusal(560), HasSubstr("n_hat must be 0 on a model that carries rope scaling"));
  EXPECT_EQ(refusal(512), "(not refused)") << "the model itself carries none";
}

TEST_F(SearchSpaceTest, WinnersToComeAreSeeds) {
  stage_.search.seeds.clear();
  EXPECT_THAT(refusal(560), HasSubstr("a genetic search needs at least one seed"));
  stage_.seed_stages = {"580"};
  EXPECT_EQ(refusal(560), "(not refused)");
  stage_.search.method = SearchMethod::kAuthors;
  stage_.search.seeds = {"ramp"};
  EXPECT_EQ(refusal(560), "(not refused)");
  stage_.seed_stages = {"560", "580"};
  EXPECT_THAT(refusal(512), HasSubstr("seed_files must name at most one file with method \"authors\": 2"));
}

TEST_F(SearchSpaceTest, RecoveryOnACheckpointToComeIsWithinWhatItReaches) {
  stage_.recovery = true;
  EXPECT_EQ(refusal(600), "(not refused)") << "its attention factor will be the long table's";
  EXPECT_THAT(refusal(560), HasSubstr("target_length of a recovery must be within the 560 tokens"));
  stage_.search.method = SearchMethod::kAuthors;
  EXPECT_THAT(refusal(600), HasSubstr("method of a recovery must be longrope or random: authors (stage 600"));
}

TEST_F(SearchSpaceTest, SeedFilesAreReadAtOnce) {
  const std::filesystem::path file = directory_ / "seed.csv";
  write_factors_csv(exact_factors(std::vector<double>(31, 1.5), /*n_hat=*/0, {}), file);
  stage_.search.seed_files = {file};
  EXPECT_THAT(refusal(560), HasSubstr("seed.csv"));
}

}  // namespace
}  // namespace longrope
