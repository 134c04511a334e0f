#include "finetune/sample_order.h"

#include "common/error.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace longrope {
namespace {

std::vector<std::size_t> samples(SampleOrder& order, std::uint64_t first, std::uint64_t count) {
  std::vector<std::size_t> documents;
  for (std::uint64_t sample = first; sample < first + count; ++sample) documents.push_back(order.document(sample));
  return documents;
}

TEST(SampleOrderTest, EveryEpochHasEachDocumentOnceInAnOrderOfItsOwn) {
  SampleOrder order(20, 3, "training");
  const auto first = samples(order, 0, 20);
  const auto second = samples(order, 20, 20);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 20U);
  EXPECT_EQ(std::set(second.begin(), second.end()).size(), 20U);
  EXPECT_NE(first, second);
}

TEST(SampleOrderTest, ASampleDoesNotDependOnThoseAskedBefore) {
  SampleOrder whole(7, 3, "training");
  const auto all = samples(whole, 0, 40);
  SampleOrder late(7, 3, "training");
  EXPECT_EQ(samples(late, 17, 23), std::vector(all.begin() + 17, all.end()));
  EXPECT_EQ(samples(late, 2, 4), std::vector(all.begin() + 2, all.begin() + 6));  // also backwards
}

TEST(SampleOrderTest, AnotherSeedIsAnotherOrder) {
  SampleOrder three(20, 3, "training");
  SampleOrder four(20, 4, "training");
  EXPECT_NE(samples(three, 0, 20), samples(four, 0, 20));
}

TEST(SampleOrderTest, AnotherNameIsAnotherOrder) {
  SampleOrder training(20, 3, "training");
  SampleOrder other(20, 3, "short");
  EXPECT_NE(samples(training, 0, 20), samples(other, 0, 20));
}

TEST(SampleOrderTest, OneDocumentIsEverySample) {
  SampleOrder order(1, 0, "training");
  EXPECT_EQ(samples(order, 0, 3), (std::vector<std::size_t>{0, 0, 0}));
}

TEST(SampleOrderTest, NoDocumentIsRefused) { EXPECT_THROW(SampleOrder(0, 0, "training"), InputError); }

}  // namespace
}  // namespace longrope
