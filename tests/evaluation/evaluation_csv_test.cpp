#include "evaluation/evaluation_csv.h"

#include "tests/support/evaluation_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::vector<std::string> lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string line; std::getline(stream, line);) result.push_back(line);
  return result;
}

TEST(EvaluationCsvTest, ARowForEachLengthBlockAndDepth) {
  const std::vector<std::string> rows = lines(to_csv(sample_evaluation()));
  ASSERT_EQ(rows.size(), 1U + 2 * (1 + 1 + 1 + 2) + 2 * (1 + 1) + 6);
  for (const std::string& row : rows) EXPECT_EQ(std::ranges::count(row, ','), 17) << row;
  EXPECT_THAT(rows[1], StartsWith("perplexity,\"base\",512,,,,,,1,"));
  EXPECT_THAT(rows[2], StartsWith("perplexity_by_position,\"base\",512,,0,512,,,1,"));
  EXPECT_THAT(rows[5], StartsWith("perplexity_by_position,\"base\",5000,,4096,5000,,,1,"));
  EXPECT_THAT(rows[6], StartsWith("perplexity,\"a|b\",512,,,,,,1.25,"));
  EXPECT_THAT(rows[11], StartsWith("sliding,\"base\",512,,,,256,128,1,"));
  EXPECT_THAT(rows[15], StartsWith("passkey,\"base\",512,0,,,,,,,,,,9,10,0.9,0.55"));
}

TEST(EvaluationCsvTest, BlocksWithoutATokenThatCountsHaveNoPerplexity) {
  EvaluationReport report = sample_evaluation();
  report.perplexity = {report.perplexity[1]};
  report.perplexity[0].blocks[0] = {0.0, 0};
  EXPECT_THAT(to_csv(report), HasSubstr("perplexity_by_position,\"base\",5000,,0,4096,,,1,0,0,,,,,,,\n"));
  EXPECT_THAT(to_csv(report), Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace longrope
