#include "coordinator/prepare_search.h"

#include "common/error.h"
#include "common/formats/factors_file.h"
#include "coordinator/coordinator.h"
#include "tests/support/prepared_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

class PrepareSearchTest : public testing::Test {
 protected:
  void expect_refused(const Config& config, const std::vector<std::string>& parts) {
    try {
      (void)prepare_search(config);
      FAIL() << "accepted";
    } catch (const InputError& error) {
      for (const std::string& part : parts) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << part << " not in: " << error.what();
      }
    }
  }

  /// The bundled model with a config.json that says: trained at 256 tokens, λ = 2 since.
  void carry_linear_scaling() {
    const std::filesystem::path model = directory_ / "scaled";
    std::filesystem::create_directories(model);
    std::filesystem::copy_file(config_.model / "model.safetensors", model / "model.safetensors");
    std::ifstream original(config_.model / "config.json");
    nlohmann::json json = nlohmann::json::parse(original);
    json["max_position_embeddings"] = 256;
    json["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
    json.erase("rope_parameters");
    std::ofstream(model / "config.json") << json;
    config_.model = model;
  }

  std::filesystem::path directory_ = fresh_directory();
  Config config_ = small_config(directory_);
  SearchStage& stage_ = search_of(config_.stages.front());
};

TEST_F(PrepareSearchTest, PlanHasEverythingThatDeterminesTheSearch) {
  const PreparedSearch prepared = prepare_search(config_);
  EXPECT_EQ(prepared.plan.model_name, "byte-llama");
  EXPECT_EQ(prepared.plan.model_digest.size(), 64U);
  EXPECT_EQ(prepared.plan.seed, 3U);
  ASSERT_EQ(prepared.plan.stages.size(), 1U);
  const PlannedStage& stage = prepared.plan.stages.front();
  EXPECT_EQ(stage.budget, 4U) << "P + T·(N1 + N2)";
  EXPECT_EQ(stage.space.geometry.original_length, 512);
  EXPECT_EQ(stage.space.geometry.rotary_dim, 64);
  EXPECT_DOUBLE_EQ(stage.space.grid.upper_bound, 1.25 * 600.0 / 512.0);
  ASSERT_EQ(stage.search.size(), 2U);
  EXPECT_EQ(stage.search.front().digest, digest(document_of("a", 1)));
  EXPECT_EQ(stage.search.front().scored_tokens, kPreparedLength - 1);
  ASSERT_EQ(stage.heldout.size(), 1U);
  EXPECT_EQ(prepared.documents.size(), 3U);
  EXPECT_EQ(prepared.documents.at(stage.heldout.front().digest).tokens.front(), 3);
  EXPECT_EQ(prepared.run.documents.size(), 3U);
  EXPECT_EQ(prepared.run.stages.front().budget, 4);
}

TEST_F(PrepareSearchTest, MaxCandidatesReplacesTheDefaultBudget) {
  stage_.stop.max_candidates = 2;
  EXPECT_EQ(prepare_search(config_).plan.stages.front().budget, 2U);
}

TEST_F(PrepareSearchTest, PassesOfAGradientSearchAreThoseThatTheHeldOutDocumentsLeave) {
  stage_.search.method = SearchMethod::kGradient;
  stage_.stop.max_passes = 60;
  const PreparedSearch prepared = prepare_search(config_);
  const PlannedStage& stage = prepared.plan.stages.front();
  EXPECT_EQ(stage.passes, 60.0 - 2.0) << "two finalists on one document";
  EXPECT_EQ(stage.budget, planned_candidates(stage.config.search, stage.space, resources_of(stage)));
  EXPECT_EQ(prepared.run.stages.front().budget, static_cast<std::int64_t>(stage.budget));
  stage_.stop.max_passes.reset();
  EXPECT_EQ(prepare_search(config_).plan.stages.front().passes, 134.0 - 2.0);
}

TEST_F(PrepareSearchTest, PassesThatAllowForNoGradientAreRefusedWithTheirPlace) {
  stage_.search.method = SearchMethod::kGradient;
  stage_.stop.max_passes = 5;
  expect_refused(config_, {"passes", "stage 600", "search.toml"});
}

TEST_F(PrepareSearchTest, OnlyTheFirstDocumentsOfTheFileAreUsed) {
  stage_.search_count = 1;
  const PreparedSearch prepared = prepare_search(config_);
  ASSERT_EQ(prepared.plan.stages.front().search.size(), 1U);
  EXPECT_EQ(prepared.run.documents.front().name, "a");
}

TEST_F(PrepareSearchTest, ScaledModelIsSearchedFromTheLengthThatItReaches) {
  carry_linear_scaling();
  const SearchSpace space = prepare_search(config_).plan.stages.front().space;
  EXPECT_EQ(space.geometry.original_length, 256);
  EXPECT_EQ(space.reached_length(), 512);
  EXPECT_THAT(space.scaling.beyond_original.lambda, testing::Each(2.0));
  EXPECT_DOUBLE_EQ(space.grid.upper_bound, 1.25 * 600.0 / 512.0);
}

TEST_F(PrepareSearchTest, ScaledModelIsSearchedFromTheLengthThatTheConfigurationSays) {
  carry_linear_scaling();
  config_.reached_length = 256;
  stage_.target_length = 512;
  const PreparedSearch prepared = prepare_search(config_);
  const SearchSpace& space = prepared.plan.stages.front().space;
  EXPECT_EQ(space.geometry.original_length, 128);
  EXPECT_EQ(space.reached_length(), 256);
  EXPECT_DOUBLE_EQ(space.grid.upper_bound, 1.25 * 512.0 / 256.0);
  EXPECT_NE(prepared.run.trajectory_settings.find("\"reached_length\":256"), std::string::npos);
  config_.reached_length = 1024;
  expect_refused(config_, {"reached_length must lie between max_position_embeddings, 256, and 2 times that, 512: 1024",
                           "config.json"});
}

TEST_F(PrepareSearchTest, TargetThatScaledModelReachesAlreadyIsRefused) {
  carry_linear_scaling();
  stage_.target_length = 512;
  expect_refused(config_, {"target_length must exceed the model's 512 tokens (256 before its rope scaling): 512",
                           "stage 600", "search.toml"});
}

TEST_F(PrepareSearchTest, NHatThatWouldTakeTheScalingFromLeadingPositionsIsRefused) {
  carry_linear_scaling();
  stage_.search.n_hat_choices = {0, 16};
  expect_refused(config_, {"n_hat must be 0 on a model that carries rope scaling", "[0, 16]", "stage 600"});
  stage_.search.n_hat_choices = {0};
  FactorsFile file;
  file.entries.resize(1);
  file.entries.front().id = "seed";
  file.entries.front().target_length = kPreparedLength;
  file.entries.front().factors = exact_factors(std::vector<double>(32, 3.0), 4, {});
  write_factors_json(file, directory_ / "seed.json");
  stage_.search.seed_files = {directory_ / "seed.json"};
  expect_refused(config_, {"n_hat of a seed must be 0 on a model that carries rope scaling", "4", "seed.json"});
}

TEST_F(PrepareSearchTest, SeedBelowWhatTheModelCarriesIsRefused) {
  carry_linear_scaling();
  const std::filesystem::path file = directory_ / "seed.csv";
  std::vector<double> lambda(32, 2.5);
  stage_.search.seed_files = {file};
  lambda[3] = 1.995;  // rounded to the grid it is 2
  write_factors_csv(exact_factors(lambda, 0, {}), file);
  EXPECT_EQ(prepare_search(config_).plan.stages.front().space.published_seeds.size(), 1U);
  lambda[3] = 1.98;
  write_factors_csv(exact_factors(lambda, 0, {}), file);
  expect_refused(config_, {"lambda of a seed must be at least the model's own, 2: pair 3 is 1.98", "seed.csv"});
}

TEST_F(PrepareSearchTest, DocumentShorterThanTheTargetIsRefused) {
  write_to(stage_.search_documents, {document_of("a", 1), document_of("short", 2, kPreparedLength - 1)});
  expect_refused(config_, {"short", "600", "599", "search.safetensors"});
}

TEST_F(PrepareSearchTest, ShortDocumentBeyondTheCountDoesNotMatter) {
  write_to(stage_.search_documents, {document_of("a", 1), document_of("short", 2, kPreparedLength - 1)});
  stage_.search_count = 1;
  EXPECT_NO_THROW((void)prepare_search(config_));
}

TEST_F(PrepareSearchTest, FinalDocumentsAreReadAndKnownByTheirDigests) {
  stage_.final_documents = directory_ / "final.safetensors";
  write_to(stage_.final_documents, {document_of("e", 5), document_of("f", 6)});
  stage_.final_count = 1;
  const PreparedSearch prepared = prepare_search(config_);
  const PlannedStage& stage = prepared.plan.stages.front();
  ASSERT_EQ(stage.final_documents.size(), 1U);
  EXPECT_EQ(stage.final_documents.front().digest, digest(document_of("e", 5)));
  EXPECT_EQ(stage.final_documents.front().scored_tokens, kPreparedLength - 1);
  EXPECT_EQ(stage.final_documents.front().scored_within_reach, 511) << "of the 512 tokens that the model reaches";
  EXPECT_EQ(prepared.run.documents.back().purpose, DocumentPurpose::kFinal);
  EXPECT_EQ(prepared.documents.size(), 4U);
  stage_.final_count = 3;
  expect_refused(config_, {"a stage needs 3 documents: 2", "final.safetensors"});
}

TEST_F(PrepareSearchTest, FinalDocumentThatWasSearchedOnOrHeldOutIsRefused) {
  stage_.final_documents = directory_ / "final.safetensors";
  write_to(stage_.final_documents, {document_of("e", 5), document_of("another name", 2)});
  expect_refused(config_, {"final documents must not be searched on", digest(document_of("b", 2)), "stage 600"});
  write_to(stage_.final_documents, {document_of("another name", 3)});
  expect_refused(config_, {"final documents must not be held out too", digest(document_of("c", 3)), "stage 600"});
}

TEST_F(PrepareSearchTest, TokenOutsideTheVocabularyIsRefused) {
  write_to(stage_.heldout_documents, {document_of("strange", 258)});
  expect_refused(config_, {"strange", "258", "heldout.safetensors"});
}

TEST_F(PrepareSearchTest, DocumentWithNothingToScoreIsRefused) {
  Document unscored = document_of("unscored", 1, kPreparedLength + 1);
  unscored.scored.assign(unscored.tokens.size(), 0);
  unscored.scored.back() = 1;  // beyond the target length
  write_to(stage_.search_documents, {unscored});
  expect_refused(config_, {"unscored", "at least one of the first 600 tokens", "search.safetensors"});
}

TEST_F(PrepareSearchTest, MissingShardIsRefusedByName) {
  config_.model = directory_ / "model";
  std::filesystem::create_directory(config_.model);
  std::filesystem::copy_file(LONGROPE_SOURCE_DIR "/models/byte-llama/config.json", config_.model / "config.json");
  std::ofstream(config_.model / "model.safetensors.index.json")
      << R"({"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}})";
  expect_refused(config_, {"model-00001-of-00001.safetensors"});
}

TEST_F(PrepareSearchTest, WeightsThatNoWorkerCouldLoadAreRefused) {
  config_.model = directory_ / "model";
  std::filesystem::create_directory(config_.model);
  std::filesystem::copy_file(LONGROPE_SOURCE_DIR "/models/byte-llama/config.json", config_.model / "config.json");
  std::ofstream(config_.model / "model.safetensors") << "version https://git-lfs.github.com/spec/v1\n";
  expect_refused(config_, {"git lfs pull", "model.safetensors"});
}

TEST_F(PrepareSearchTest, DocumentInBothFilesIsRefused) {
  write_to(stage_.heldout_documents, {document_of("another-name", 2)});
  expect_refused(config_, {"held-out documents must not be searched on", digest(document_of("b", 2)), "stage 600"});
}

TEST_F(PrepareSearchTest, RepeatedDocumentIsRefused) {
  write_to(stage_.search_documents, {document_of("a", 1), document_of("again", 1)});
  expect_refused(config_, {"documents must differ", "again", "search.safetensors"});
}

TEST_F(PrepareSearchTest, DocumentsOfTwoTokenizersAreRefusedWithBothFiles) {
  write_documents({{document_of("c", 3)}, "another", ""}, stage_.heldout_documents);
  expect_refused(config_, {"one tokenizer", "byte-level", "another", "search.safetensors", "heldout.safetensors"});
}

TEST_F(PrepareSearchTest, DocumentsOfAnotherTokenizerThanTheModelsAreRefused) {
  carry_linear_scaling();
  std::ofstream(config_.model / "tokenizer.json") << "{}";
  expect_refused(config_, {"tokens of the model's tokenizer", "byte-level", "tokenizer.json", "search.safetensors"});
}

TEST_F(PrepareSearchTest, TargetThatIsNoExtensionIsRefused) {
  stage_.target_length = 512;
  expect_refused(config_, {"target_length must exceed the model's 512 tokens: 512", "stage 600", "search.toml"});
}

TEST_F(PrepareSearchTest, TooFewDocumentsAreRefused) {
  stage_.heldout_count = 2;
  expect_refused(config_, {"a stage needs 2 documents: 1", "heldout.safetensors"});
}

TEST_F(PrepareSearchTest, SeedFileOfAnotherLengthIsRefused) {
  const std::filesystem::path file = directory_ / "seed.csv";
  std::ofstream(file) << "1.0\n1.1\n1.2\n";
  stage_.search.seed_files = {file};
  expect_refused(config_, {"seed.csv", "32", "3"});
}

TEST_F(PrepareSearchTest, SeedFileThatFitsBecomesASeed) {
  const std::filesystem::path file = directory_ / "seed.csv";
  std::ofstream text(file);
  for (int pair = 0; pair < 32; ++pair) text << "1.1\n";
  text.close();
  stage_.search.seed_files = {file};
  EXPECT_EQ(prepare_search(config_).plan.stages.front().space.published_seeds.size(), 1U);
}

TEST_F(PrepareSearchTest, MissingFilesAreRefusedByName) {
  Config without_documents = config_;
  search_of(without_documents.stages.front()).search_documents = directory_ / "absent.safetensors";
  expect_refused(without_documents, {"absent.safetensors"});
  Config without_model = config_;
  without_model.model = directory_ / "no-model";
  expect_refused(without_model, {"no-model"});
  stage_.search.seed_files = {directory_ / "absent.csv"};
  expect_refused(config_, {"absent.csv"});
}

TEST_F(PrepareSearchTest, ParametersThatAMethodDoesNotHaveAreRefusedBeforeADatabaseIsMade) {
  stage_.search.method = SearchMethod::kAuthors;
  stage_.search.seeds = {"ramp"};
  EXPECT_NO_THROW((void)prepare_search(config_));
  stage_.search.n_hat_choices = {0, 4};
  expect_refused(config_, {"n_hat must be 0 with method \"authors\": [0, 4] (stage 600, ", "search.toml"});
  const std::filesystem::path database = directory_ / "search.db";
  EXPECT_THROW(Coordinator(prepare_search(config_), database, {}), InputError);
  EXPECT_FALSE(std::filesystem::exists(database));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "search.db.lock"));
}

TEST_F(PrepareSearchTest, ParametersOfEveryMethodAreChecked) {
  stage_.search.mutation_probability = 0.0;
  expect_refused(config_, {"mutation_probability must be above 0 and at most 1: 0", "stage 600"});
  stage_.search.method = SearchMethod::kRandom;
  EXPECT_NO_THROW((void)prepare_search(config_)) << "which has no mutations";
  stage_.search.attention_policies = {AttentionPolicy::kValue};
  stage_.search.attention_value = 0.0;
  expect_refused(config_, {"attention_value must be finite and positive: 0", "stage 600"});
}

TEST_F(PrepareSearchTest, MethodIsRefusedBeforeDocumentsAreRead) {
  stage_.search.mutation_probability = 0.0;
  stage_.search_documents = directory_ / "absent.safetensors";
  expect_refused(config_, {"mutation_probability"});
}

TEST_F(PrepareSearchTest, RecoverySearchesBelowItsBoundAndReplacesWhatTheModelCarries) {
  carry_linear_scaling();
  stage_.recovery = true;
  stage_.target_length = 512;
  stage_.search.attention_policies = {AttentionPolicy::kValue};
  stage_.search.attention_value = 1.25;
  const PlannedStage stage = prepare_search(config_).plan.stages.front();
  const SearchSpace& space = stage.space;
  EXPECT_FALSE(space.scaling.scaled()) << "nothing is composed";
  EXPECT_EQ(stage.carried.up_to_original.lambda, std::vector<double>(32, 2.0)) << "the model as it is, for baselines";
  EXPECT_DOUBLE_EQ(space.grid.upper_bound, 3.0) << "1 + max(2, 512 / 256)";
  ASSERT_EQ(space.published_seeds.size(), 2U);
  EXPECT_EQ(space.published_seeds.front().lambda, std::vector<double>(32, 2.0)) << "the model's own";
  EXPECT_DOUBLE_EQ(space.published_seeds.front().attention.value, 1.25);
}

TEST_F(PrepareSearchTest, RecoveryBeginsWithTheModelsOwnFactorsAndWithThemBelowItsBound) {
  carry_linear_scaling();
  stage_.recovery = true;
  stage_.target_length = 512;
  stage_.search.upper_bound = 1.5;
  const SearchSpace space = prepare_search(config_).plan.stages.front().space;
  ASSERT_EQ(space.published_seeds.size(), 2U);
  EXPECT_EQ(space.published_seeds.front().lambda, std::vector<double>(32, 2.0)) << "it may be the best that there is";
  EXPECT_EQ(space.published_seeds.back().lambda, std::vector<double>(32, 1.5));
}

TEST_F(PrepareSearchTest, SeedFilesOfARecoveryGetItsAttentionFactor) {
  stage_.recovery = true;
  stage_.target_length = 512;
  stage_.search.attention_value = 1.25;
  const std::filesystem::path file = directory_ / "seed.csv";
  write_factors_csv(exact_factors(std::vector<double>(32, 1.5), /*n_hat=*/0, {}), file);
  stage_.search.seed_files = {file};
  const SearchSpace space = prepare_search(config_).plan.stages.front().space;
  ASSERT_EQ(space.published_seeds.size(), 3U);
  EXPECT_EQ(space.published_seeds.back().lambda, std::vector<double>(32, 1.5));
  EXPECT_DOUBLE_EQ(space.published_seeds.back().attention.value, 1.25);
  write_factors_csv(exact_factors(std::vector<double>(31, 1.5), /*n_hat=*/0, {}), file);
  expect_refused(config_, {"seed.csv", "31"});
}

TEST_F(PrepareSearchTest, RecoveryBeyondWhatTheModelReachesIsRefused) {
  stage_.recovery = true;
  expect_refused(config_, {"target_length of a recovery must be within the 512 tokens", "600"});
}

}  // namespace
}  // namespace longrope
