#include "common/documents/retrieval_depth.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::HasSubstr;

TEST(RetrievalDepthTest, IsTheLastButOnePartOfTheName) {
  EXPECT_EQ(retrieval_depth("passkey-0.500-03"), 0.5);
  EXPECT_EQ(retrieval_depth("passkey-0.000-00"), 0.0);
  EXPECT_EQ(retrieval_depth("passkey-1.000-100"), 1.0);
  EXPECT_EQ(retrieval_depth("books-0007-0.333-12"), 0.333);
  EXPECT_EQ(retrieval_depth("-0.250-00"), 0.25);
}

TEST(RetrievalDepthTest, OtherNamesAreRefused) {
  for (const char* const name :
       {"", "-", "passkey", "heldout-0000", "passkey-0.500", "passkey-0.500-", "passkey-0.500-3", "passkey-0.500-0x",
        "passkey-0.5-03", "passkey-0.5000-03", "passkey-1.001-03", "passkey-2.000-03", "passkey-.5000-03",
        "passkey-0,500-03", "passkey-0.5e0-03", "passkey0.500-03", "passkey--0.50-03", "0.500-03",
        "passkey-0.500-03 "}) {
    EXPECT_THAT(refusal([&] { (void)retrieval_depth(name); }),
                HasSubstr(std::string("as in passkey-0.500-03: ") + name))
        << name;
  }
}

}  // namespace
}  // namespace longrope
