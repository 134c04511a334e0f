#include "cli/best_table.h"

#include "tests/support/winner_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;

BestFactors best() {
  BestFactors best;
  best.stage = "1k";
  best.target_length = 32768;
  best.final = true;
  best.origin = "mutation";
  best.factors.lambda = {1.0, 2.0};
  best.search_perplexity = 25.0;
  best.heldout_perplexity = 25.5;
  best.heldout_documents = 4;
  best.baselines.none = 24.0;
  return best;
}

std::string written(const std::optional<Verdict>& verdict) {
  std::ostringstream out;
  write_best(best(), verdict, out);
  return out.str();
}

TEST(BestTableTest, BestMethodIsMarkedAndTheVerdictFollows) {
  const std::string table = written(judge(unequal_documents()));
  EXPECT_THAT(table, HasSubstr("held-out perplexity at 32768 tokens, 4 documents (* the best)\n"));
  EXPECT_THAT(table, HasSubstr("  untouched            24.28485 *\n"));
  EXPECT_THAT(table, HasSubstr("  NTK                         -\n")) << "not scored";
  EXPECT_THAT(table, HasSubstr("  searched             25.57666\n"));
  EXPECT_THAT(table, HasSubstr("\nsearched is 5.3 % worse than untouched (± 2 %): do not export\n"));
}

TEST(BestTableTest, TableIsOfTheFinalDocumentsWhereTheyJudge) {
  WinnerScores scores = unequal_documents();
  scores.final_documents = true;
  scores.scores[3].origin = "yarn-m1";
  const std::string table = written(judge(scores));
  EXPECT_THAT(table, HasSubstr("final perplexity at 32768 tokens, 4 documents"));
  EXPECT_THAT(table, HasSubstr("  YaRN with m = 1      25.54877\n"));
}

TEST(BestTableTest, StageThatHasNotChosenHasNoTable) {
  BestFactors open = best();
  open.final = false;
  std::ostringstream out;
  write_best(open, std::nullopt, out);
  EXPECT_THAT(out.str(), Not(HasSubstr("untouched")));
  EXPECT_TRUE(best_json(open, std::nullopt)["verdict"].is_null());
}

TEST(BestTableTest, JsonKeepsItsKeysAndHasTheVerdict) {
  const nlohmann::ordered_json json = best_json(best(), judge(unequal_documents()));
  EXPECT_EQ(json["heldout_perplexity_untouched"], 24.0);
  EXPECT_EQ(json["verdict"]["judgement"], "worse");
}

}  // namespace
}  // namespace longrope
