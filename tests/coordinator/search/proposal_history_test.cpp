#include "coordinator/search/proposal_history.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

namespace longrope {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

RescaleFactors factors(double lambda) { return exact_factors({1.0, lambda}, 0, {}); }

ProposalHistory history_of(std::size_t proposals, std::size_t num_parents) {
  ProposalHistory history(num_parents);
  for (std::size_t k = 0; k < proposals; ++k) {
    history.record(factors(1.0 + static_cast<double>(k)));
  }
  return history;
}

TEST(ProposalHistoryTest, BestAreRankedByResultThenIndex) {
  ProposalHistory history = history_of(5, 3);
  history.tell(0, 2.0);
  history.tell(1, 1.0);
  history.tell(2, 2.0);
  EXPECT_EQ(history.best(), (std::vector<std::size_t>{1, 0, 2}));
  history.tell(3, 2.0);
  EXPECT_EQ(history.best(), (std::vector<std::size_t>{1, 0, 2}));
  history.tell(4, 0.5);
  EXPECT_EQ(history.best(), (std::vector<std::size_t>{4, 1, 0}));
}

TEST(ProposalHistoryTest, InfiniteResultsAreNeverAmongTheBest) {
  ProposalHistory history = history_of(3, 3);
  history.tell(0, kInfinity);
  history.tell(1, 1.0);
  history.tell(2, kInfinity);
  EXPECT_EQ(history.best(), (std::vector<std::size_t>{1}));
}

TEST(ProposalHistoryTest, ResultsOutOfOrderAreRefused) {
  ProposalHistory history = history_of(3, 3);
  EXPECT_THROW(history.tell(1, 1.0), std::logic_error);
  history.tell(0, 1.0);
  EXPECT_THROW(history.tell(0, 1.0), std::logic_error);
}

TEST(ProposalHistoryTest, ResultOfAnUnproposedCandidateIsRefused) {
  ProposalHistory history = history_of(1, 3);
  history.tell(0, 1.0);
  EXPECT_THROW(history.tell(1, 1.0), std::logic_error);
}

TEST(ProposalHistoryTest, NanIsRefusedAndChangesNothing) {
  ProposalHistory history = history_of(1, 3);
  EXPECT_THROW(history.tell(0, std::numeric_limits<double>::quiet_NaN()), std::logic_error);
  history.tell(0, 1.0);
  EXPECT_EQ(history.best().size(), 1U);
}

TEST(ProposalHistoryTest, AskNeedsTheNextIndexAndExactlyTheNeededResults) {
  ProposalHistory history = history_of(2, 3);
  EXPECT_NO_THROW(history.expect_ask(2, 0));
  EXPECT_THROW(history.expect_ask(1, 0), std::logic_error);
  EXPECT_THROW(history.expect_ask(3, 0), std::logic_error);
  EXPECT_THROW(history.expect_ask(2, 1), std::logic_error);
  history.tell(0, 1.0);
  EXPECT_NO_THROW(history.expect_ask(2, 1));
  EXPECT_THROW(history.expect_ask(2, 0), std::logic_error);
}

TEST(ProposalHistoryTest, SameEvaluationIsNotNew) {
  ProposalHistory history(3);
  EXPECT_TRUE(history.is_new(factors(2.0)));
  history.record(factors(2.0));
  EXPECT_FALSE(history.is_new(factors(2.0)));
  EXPECT_TRUE(history.is_new(factors(2.01)));
  EXPECT_TRUE(history.is_new(exact_factors({1.0, 2.0}, 4, {})));
  EXPECT_TRUE(history.is_new(exact_factors({1.0, 2.0}, 0, {.policy = AttentionPolicy::kValue, .value = 1.1})));
  EXPECT_THROW(history.record(factors(2.0)), std::logic_error);
}

}  // namespace
}  // namespace longrope
