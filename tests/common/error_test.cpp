#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

TEST(ErrorTest, MessageIsKeptAsItIs) {
  const std::string message = "lambda must be finite: pair 3 is nan (Bücher/factors.csv:4) …";
  EXPECT_EQ(Error(message).what(), message);
  EXPECT_EQ(InputError(message).what(), message);
}

TEST(ErrorTest, ControlCharactersDoNotReachATerminal) {
  EXPECT_STREQ(InputError("key \x1b[2J, \x7f, \xc2\x9b"
                          "2J (a.json)")
                   .what(),
               R"(key \u001b[2J, \u007f, \u009b2J (a.json))");
  EXPECT_STREQ(InputError(std::string("zero \0 byte", 11)).what(), R"(zero \u0000 byte)");
  EXPECT_STREQ(InputError("one\nline\tonly\r").what(), "one line only ");
}

TEST(ErrorTest, PrintableTextIsOneLineWithoutControlCharacters) {
  EXPECT_EQ(printable_text("gpu \x1b]0;title\a\x7f\xc2\x9b"), R"(gpu \u001b]0;title\u0007\u007f\u009b)");
  EXPECT_EQ(printable_text("forged\r\nline\t"), "forged  line ");
  EXPECT_EQ(printable_text(std::string_view("\0", 1)), R"(\u0000)");
}

TEST(ErrorTest, PrintableTextIsKeptAsItIsAndWhole) {
  const std::string text = "Bücher \xc2 \xff … " + std::string(10'000, 'k');
  EXPECT_EQ(printable_text(text), text);
  EXPECT_EQ(printable_text(""), "");
}

TEST(ErrorTest, LongMessageKeepsItsRuleAndItsPlace) {
  const std::string message = "key must be a known one: " + std::string(1'000'000, 'k') + " (a.json)";
  const std::string shown = InputError(message).what();
  EXPECT_THAT(shown, StartsWith("key must be a known one: kkk"));
  EXPECT_THAT(shown, HasSubstr("k … k"));
  EXPECT_THAT(shown, EndsWith("k (a.json)"));
  EXPECT_THAT(shown, SizeIs(testing::Le(2010U)));
}

TEST(ErrorTest, ShorteningKeepsCharactersWhole) {
  for (const std::string shift : {"", "a", "aa"}) {
    std::string message = shift;
    for (int i = 0; i < 1000; ++i) message += "…";
    const std::string shown = InputError(message).what();
    EXPECT_EQ((shown.size() - shift.size() - 2) % 3, 0U) << "three bytes for each …, and two spaces: " << shown.size();
  }
}

}  // namespace
}  // namespace longrope
