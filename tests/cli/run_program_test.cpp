#include "cli/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int status = 0;
  std::string printed;  // on standard error
  std::string model;
  std::vector<std::int64_t> lengths;
};

Outcome run(std::vector<std::string> words) {
  Outcome outcome;
  CLI::App app{"", "longrope"};
  app.require_subcommand(1);
  auto* score = app.add_subcommand("score", "");
  add_model(*score, outcome.model);
  in_tokens(score->add_option("--length,--lengths", outcome.lengths)->delimiter(','));
  auto* stage = app.add_subcommand("stage", "");
  stage->require_subcommand(1);
  stage->add_subcommand("list", "");
  words.insert(words.begin(), "longrope");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  testing::internal::CaptureStderr();
  outcome.status = run_program(app, static_cast<int>(arguments.size()), arguments.data());
  outcome.printed = testing::internal::GetCapturedStderr();
  return outcome;
}

TEST(RunProgram, NamesTheCommandThatWasMeant) {
  const Outcome outcome = run({"scroe", "--model", "m"});
  EXPECT_EQ(outcome.status, kExitBadInput);
  EXPECT_THAT(outcome.printed, HasSubstr("no such command: scroe; did you mean score?"));
  EXPECT_THAT(run({"stage", "lst"}).printed, HasSubstr("no such command of stage: lst; did you mean list?"));
}

TEST(RunProgram, NamesTheOptionThatWasMeantEvenWhereOneIsMissing) {
  const Outcome outcome = run({"score", "--modle=m"});
  EXPECT_EQ(outcome.status, kExitBadInput);
  EXPECT_THAT(outcome.printed, HasSubstr("no such option of score: --modle; did you mean --model?"));
}

TEST(RunProgram, SuggestsNothingForAWordThatIsNearNone) {
  EXPECT_THAT(run({"banana"}).printed, testing::AllOf(HasSubstr("no such command: banana"), Not(HasSubstr("mean"))));
}

TEST(RunProgram, TakesTheModelWithAndWithoutItsOption) {
  EXPECT_EQ(run({"score", "--model", "m"}).model, "m");
  EXPECT_EQ(run({"score", "m"}).model, "m");
}

TEST(RunProgram, ReadsLengthsInThousandsOfTokens) {
  EXPECT_EQ(run({"score", "m", "--length", "512,8k,2M"}).lengths, (std::vector<std::int64_t>{512, 8192, 2097152}));
  EXPECT_EQ(run({"score", "m", "--lengths", "8K"}).lengths, std::vector<std::int64_t>{8192});
}

TEST(RunProgram, RefusesLengthsThatAreNoNumbers) {
  for (const char* length : {"k", "8kk", "8g", "99999999999999999999k", "8.5k"}) {
    EXPECT_EQ(run({"score", "m", "--length", length}).status, kExitBadInput) << length;
  }
}

}  // namespace
}  // namespace longrope
