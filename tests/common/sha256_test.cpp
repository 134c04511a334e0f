#include "common/sha256.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

std::string sha256_of(std::string_view text) { return Sha256().update(std::as_bytes(std::span(text))).hex(); }

TEST(Sha256Test, MatchesPublishedVectors) {
  // FIPS 180-2, appendix B.
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, FileIsHashedAcrossChunks) {
  const TemporaryDirectory directory;
  const std::string content(3'000'001, 'x');
  EXPECT_EQ(sha256_of_file(directory.write("a.bin", content)), sha256_of(content));
}

TEST(Sha256Test, MissingFileIsRefused) {
  EXPECT_THAT(refusal([] { (void)sha256_of_file("/nonexistent/weights"); }),
              testing::HasSubstr("/nonexistent/weights"));
}

TEST(Sha256Test, AdjacentFieldsCannotRunIntoEachOther) {
  EXPECT_NE(Sha256().field("ab").field("c").hex(), Sha256().field("a").field("bc").hex());
  EXPECT_NE(Sha256().field("").field("a").hex(), Sha256().field("a").field("").hex());
}

TEST(Sha256Test, FieldsAreLittleEndianWithTheirLength) {
  const std::string_view expected(
      "\2\0\0\0\0\0\0\0ab\10\0\0\0\0\0\0\0\1\2\0\0\0\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0\0\0\xf0?", 42);
  EXPECT_EQ(Sha256().field("ab").field(std::int64_t{0x201}).field(1.0).hex(), sha256_of(expected));
}

TEST(Sha256Test, NegativeZeroDiffersFromZero) { EXPECT_NE(Sha256().field(0.0).hex(), Sha256().field(-0.0).hex()); }

}  // namespace
}  // namespace longrope
