#include "pipeline/preflight.h"

#include "common/documents/documents.h"
#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/model/model_description.h"
#include "tests/support/prepared_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// A search, a fine-tuning and an evaluation with documents of 600 tokens.
class PreflightTest : public testing::Test {
 protected:
  void SetUp() override {
    const SearchStage search = search_of(config_.stages.front());
    config_.stages.clear();
    write_to(train_, {document_of("t", 7)});
    write_to(final_, {document_of("f", 8)});
    FinetuneStage finetune;
    finetune.documents = train_;
    finetune.settings.steps = 10;
    EvaluateStage evaluate;
    evaluate.documents = final_;
    evaluate.lengths = {512, kPreparedLength};
    config_.stages.push_back({.name = "600", .kind = StageKind::kSearch, .work = search});
    config_.stages.push_back({.name = "tune", .kind = StageKind::kFinetune, .factors = "600", .work = finetune});
    config_.stages.push_back({.name = "tables", .kind = StageKind::kEvaluate, .factors = "600", .work = evaluate});
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  [[nodiscard]] std::string refusal() const {
    try {
      require_feasible(config_, over_);
    } catch (const InputError& error) {
      return error.what();
    }
    return "(not refused)";
  }

  /// The bundled model without its weights.
  void lose_weights() {
    const std::filesystem::path model = directory_ / "model";
    std::filesystem::create_directory(model);
    std::filesystem::copy_file(config_.model / "config.json", model / "config.json");
    config_.model = model;
  }

  void write_seed_with_leading_positions() const {
    FactorsFile file;
    file.model = factors_model(describe_model(config_.model), std::string(64, '0'));
    FactorsFile::Entry& entry = file.entries.emplace_back();
    entry.id = "seed";
    entry.target_length = kPreparedLength;
    entry.factors = exact_factors(std::vector<double>(32, 1.5), /*n_hat=*/4, {});
    write_factors_json(file, directory_ / "seed.json");
  }

  std::filesystem::path directory_ = fresh_directory(folder_in_memory());
  std::filesystem::path train_ = directory_ / "train.safetensors";
  std::filesystem::path final_ = directory_ / "final.safetensors";
  Config config_ = small_config(directory_);
  StagesOver over_;
};

TEST_F(PreflightTest, WeightsThatNoStageCouldLoadAreRefused) {
  lose_weights();
  EXPECT_THAT(refusal(), HasSubstr("a weight file must exist"));
}

TEST_F(PreflightTest, DocumentsThatFitAreAccepted) { EXPECT_EQ(refusal(), "(not refused)"); }

TEST_F(PreflightTest, MissingFileOfALateStageIsRefusedBeforeTheFirst) {
  std::filesystem::remove(final_);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage tables: "), HasSubstr("final.safetensors")));
}

TEST_F(PreflightTest, DocumentShorterThanItsStageNeedsIsRefused) {
  write_to(train_, {document_of("t", 7, kPreparedLength - 1)});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage tune: "), HasSubstr("599"), HasSubstr("train.safetensors")));
}

TEST_F(PreflightTest, MoreDocumentsThanThereAreAreRefused) {
  search_of(config_.stages.front()).heldout_count = 100;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage 600: "), HasSubstr(": 100 ("), HasSubstr("heldout.safetensors")));
}

TEST_F(PreflightTest, NumbersThatATrainingWouldRefuseAreRefused) {
  TrainingSettings& settings = std::get<FinetuneStage>(config_.stages[1].work).settings;
  settings.warmup_steps = 11;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage tune: "), HasSubstr("warm-up must lie in [0, 10] steps: 11")));
  settings = {.steps = 10, .batch_size = 4, .micro_batch_size = 3};
  EXPECT_THAT(refusal(), HasSubstr("micro-batch size must divide"));
  settings = {.steps = 10, .short_length = 64};
  EXPECT_THAT(refusal(), HasSubstr("must be given together: 1 of 3"));
  std::get<FinetuneStage>(config_.stages[1].work).command = {"trainer"};
  EXPECT_EQ(refusal(), "(not refused)") << "to others they are settings like any";
  std::get<FinetuneStage>(config_.stages[1].work).command.clear();
  settings = {.steps = 10, .short_documents = train_, .short_length = 600, .short_batch_size = 1};
  EXPECT_THAT(refusal(), HasSubstr("short_length must be at most the 512 tokens"));
}

TEST_F(PreflightTest, EvaluationBeyondTheLongestTableIsRefused) {
  write_to(final_, {document_of("f", 8, kPreparedLength + 1)});
  std::get<EvaluateStage>(config_.stages.back().work).lengths = {512, kPreparedLength + 1};
  EXPECT_THAT(refusal(),
              HasSubstr("stage tables: what is evaluated must be within the 600 tokens of the longest table"));
}

TEST_F(PreflightTest, TokenOutsideTheVocabularyIsRefused) {
  write_to(final_, {document_of("f", 258)});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage tables: "), HasSubstr("258")));
}

TEST_F(PreflightTest, PassKeysAreCheckedFromEndToEnd) {
  Document passkey = document_of("passkey-0.500-00", 9, 100);
  passkey.scored.assign(100, 0);
  passkey.scored.back() = 1;  // the answer stands at the end
  write_to(directory_ / "passkey.safetensors", {passkey});
  std::get<EvaluateStage>(config_.stages.back().work).passkey = {directory_ / "passkey.safetensors"};
  EXPECT_EQ(refusal(), "(not refused)");
  passkey.tokens[50] = 258;
  write_to(directory_ / "passkey.safetensors", {passkey});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage tables: "), HasSubstr("258"), HasSubstr("passkey.safetensors")));
}

TEST_F(PreflightTest, DocumentThatIsTrainedOnAndJudgesIsRefused) {
  write_to(train_, {document_of("t", 7), document_of("same", 8)});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("that is held out or evaluated must not be trained on: 12 of the 12 "),
                               HasSubstr(" of f ("), HasSubstr("final.safetensors) are, first in "),
                               HasSubstr("train.safetensors")));
  write_to(train_, {document_of("same", 3)});
  EXPECT_THAT(refusal(), HasSubstr("heldout.safetensors"));
}

TEST_F(PreflightTest, FinalDocumentsOfASearchJudgeToo) {
  SearchStage& search = search_of(config_.stages.front());
  search.final_documents = directory_ / "judge.safetensors";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage 600: "), HasSubstr("judge.safetensors")));
  write_to(search.final_documents, {document_of("j", 9)});
  EXPECT_EQ(refusal(), "(not refused)");
  search.final_count = 2;
  EXPECT_THAT(refusal(), AllOf(HasSubstr(": 2 ("), HasSubstr("judge.safetensors")));
  search.final_count.reset();
  write_to(train_, {document_of("same", 9)});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("must not be trained on"), HasSubstr("judge.safetensors")));
}

TEST_F(PreflightTest, TextThatJudgesIsFoundInSamplesThatAreCutInAnotherWay) {
  Document sample = document_of("f", 8);
  sample.tokens.erase(sample.tokens.begin(), sample.tokens.begin() + 30);
  sample.tokens.front() = 256;  // BOS
  sample.tokens.insert(sample.tokens.end(), 30, 257);
  sample.name = "cut";
  write_to(train_, {document_of("t", 7), sample});
  EXPECT_THAT(refusal(), AllOf(HasSubstr(" of f ("), HasSubstr("first in cut (")));
}

TEST_F(PreflightTest, FinishedStageMayHaveLostItsDocuments) {
  std::filesystem::remove(train_);
  EXPECT_THAT(refusal(), HasSubstr("stage tune: "));
  over_.finished = {"tune"};
  EXPECT_EQ(refusal(), "(not refused)");
}

TEST_F(PreflightTest, FinishedSearchKeepsTheRulesOfItsTime) {
  search_of(config_.stages.front()).search.n_hat_choices = {0, 4};
  EXPECT_THAT(refusal(), HasSubstr("stage 600: n_hat must be 0"));
  over_.finished = {"600"};
  EXPECT_EQ(refusal(), "(not refused)") << "its winner may have none";
}

TEST_F(PreflightTest, AfterASkippedFineTuningTheModelBeforeItIsExtended) {
  PipelineStage second = config_.stages.front();
  second.name = "second";
  second.model = "tune";
  std::get<SearchStage>(second.work).recovery = true;
  config_.stages.push_back(second);
  EXPECT_EQ(refusal(), "(not refused)");
  over_.skipped = {"tune"};
  std::filesystem::remove(train_);
  EXPECT_THAT(refusal(), HasSubstr("stage second: target_length of a recovery must be within the 512 tokens"));
  search_of(config_.stages.back()).recovery = false;
  EXPECT_EQ(refusal(), "(not refused)");
}

TEST_F(PreflightTest, SearchMustGoBeyondItsCheckpointAndRecoveryMustNot) {
  config_.stages[2].model = "tune";
  PipelineStage second = config_.stages.front();
  second.name = "second";
  second.model = "tune";
  config_.stages.push_back(second);
  EXPECT_THAT(refusal(), HasSubstr("stage second: target_length must exceed the 600 tokens"));
  auto& search = search_of(config_.stages.back());
  search.recovery = true;
  EXPECT_EQ(refusal(), "(not refused)");
  search.target_length = 601;
  EXPECT_THAT(refusal(), HasSubstr("target_length of a recovery must be within the 600 tokens"));
  search.target_length = 512;
  search.search.method = SearchMethod::kAuthors;
  EXPECT_THAT(refusal(), HasSubstr("method of a recovery must be longrope or random"));
}

TEST_F(PreflightTest, LeadingPositionsAreRefusedWhereNothingExpressesThem) {
  search_of(config_.stages.front()).search.n_hat_choices = {0, 4};
  EXPECT_THAT(refusal(), HasSubstr("stage 600: n_hat must be 0 for factors that go into a checkpoint, as stage tune"));
  write_seed_with_leading_positions();
  auto& search = search_of(config_.stages.front()).search;
  search.n_hat_choices = {0};
  EXPECT_EQ(refusal(), "(not refused)");
  search.seed_files = {directory_ / "seed.json"};
  EXPECT_THAT(refusal(), HasSubstr("n_hat must be 0 for factors that go into a checkpoint")) << "of a seed";
  config_.stages.erase(config_.stages.begin() + 1);
  EXPECT_EQ(refusal(), "(not refused)") << "tables alone can be made of them";
  PipelineStage second = config_.stages.front();
  second.model = "tune";
  config_.stages.push_back(second);
  EXPECT_THAT(refusal(), HasSubstr("n_hat must be 0 on a checkpoint that carries rope scaling"));
}

TEST_F(PreflightTest, SearchDocumentsMayBeTrainedOn) {
  write_to(train_, {document_of("same", 1)});
  EXPECT_EQ(refusal(), "(not refused)");
}

}  // namespace
}  // namespace longrope
