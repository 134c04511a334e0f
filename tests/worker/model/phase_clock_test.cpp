#include "worker/model/phase_clock.h"

#include <gtest/gtest.h>

namespace longrope {
namespace {

TEST(PhaseClockTest, ALapGetsTheTimeSinceTheOneBefore) {
  double now = 10.0;
  PhaseClock clock([&now] { return now; });
  now = 13.0;
  clock.lap(Phase::kAttention, 100.0);
  now = 18.0;
  clock.lap(Phase::kRows);
  now = 20.0;
  clock.lap(Phase::kAttention, 50.0);
  const PhaseTotals& totals = clock.totals();
  EXPECT_EQ(totals[static_cast<std::size_t>(Phase::kAttention)].seconds, 5.0);
  EXPECT_EQ(totals[static_cast<std::size_t>(Phase::kAttention)].operations, 150.0);
  EXPECT_EQ(totals[static_cast<std::size_t>(Phase::kRows)].seconds, 5.0);
  EXPECT_EQ(totals[static_cast<std::size_t>(Phase::kOutput)].seconds, 0.0);
}

TEST(PhaseClockTest, WithoutATimeNothingIsCounted) {
  PhaseClock clock({});
  clock.lap(Phase::kRows, 1.0);
  for (const PhaseTotal& total : clock.totals()) EXPECT_EQ(total.seconds + total.operations, 0.0);
}

}  // namespace
}  // namespace longrope
