#include "common/files/strict_yaml.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

using testing::HasSubstr;

nlohmann::json parsed(std::string_view text) { return parse_strict_yaml(text, "user.yaml"); }

std::string refusal_of(std::string_view text) {
  return refusal([&] { (void)parsed(text); });
}

TEST(StrictYamlTest, BlockAndFlowStylesAreTheJsonTheyStandFor) {
  EXPECT_EQ(parsed("a: 1\nb:\n  - 1.5\n  - {c: [true, null]}\n"),
            nlohmann::json::parse(R"({"a": 1, "b": [1.5, {"c": [true, null]}]})"));
}

TEST(StrictYamlTest, PlainScalarsAreNumbersWhereJsonHasThemAndTextElsewhere) {
  EXPECT_EQ(parsed("[1, -1, 2.5e-3, false, x y, 1e999, 010, .inf]"),
            nlohmann::json::parse(R"([1, -1, 0.0025, false, "x y", "1e999", "010", ".inf"])"));
}

TEST(StrictYamlTest, QuotedScalarsAreText) {
  EXPECT_EQ(parsed("['1', \"true\", '', 'it''s', \"a\\nb\"]"), nlohmann::json({"1", "true", "", "it's", "a\nb"}));
}

TEST(StrictYamlTest, NothingIsNull) {
  EXPECT_EQ(parsed("a:\nb: ~\n"), nlohmann::json({{"a", nullptr}, {"b", nullptr}}));
  EXPECT_EQ(parsed(""), nullptr);
  EXPECT_EQ(parsed("# a comment\n"), nullptr);
}

TEST(StrictYamlTest, SyntaxErrorsNameLineAndColumn) {
  const std::string message = refusal_of("a: 1\nb: [1\nc: 2\n");
  EXPECT_THAT(message, HasSubstr("YAML must be well-formed"));
  EXPECT_THAT(message, HasSubstr("(line 3, column "));
  EXPECT_THAT(message, HasSubstr("of user.yaml)"));
}

TEST(StrictYamlTest, BytesThatAreNoTextAreRefusedByPlace) {
  EXPECT_THAT(refusal_of("a: \xff"), HasSubstr("(byte 3 of user.yaml)"));
  EXPECT_THAT(refusal_of(std::string_view("a: \0", 4)), HasSubstr("(byte 3 of user.yaml)"));
}

TEST(StrictYamlTest, DuplicateKeyIsRefusedByNameAndLine) {
  EXPECT_EQ(refusal_of("a:\n  x: 1\n  x: 2\n"),
            "YAML key must appear once in a mapping: \"x\" (line 3, column 3 of user.yaml)");
  EXPECT_NO_THROW((void)parsed("[{a: 1}, {a: 2}]"));
}

TEST(StrictYamlTest, DepthLimitIsInclusive) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW((void)parsed(nested(16)));
  EXPECT_THAT(refusal_of(nested(17)), HasSubstr("must not nest deeper than 16 levels (line 1, column 17"));
}

TEST(StrictYamlTest, DirectivesAreRefusedByLine) {
  EXPECT_EQ(refusal_of("%YAML 1.2\n---\na: 1\n"), "YAML must have no directives (line 1 of user.yaml)");
  EXPECT_THAT(refusal_of("# a comment\r\n\r\n%TAG ! !a\r\n---\na: 1\n"), HasSubstr("(line 3 of user.yaml)"));
  EXPECT_THAT(refusal_of("a: |\n  x\n%y\n"), HasSubstr("(line 3 of user.yaml)"));
  for (const std::string line_break : {"\r", "\n", "\u0085", "\u2028", "\u2029"}) {
    EXPECT_THAT(refusal_of("#" + line_break + "%TAG ! !a\n---\na: 1\n"), HasSubstr("no directives (line 2"));
  }
  EXPECT_EQ(parsed("a: 5%\nb: ' %x'\n"), nlohmann::json({{"a", "5%"}, {"b", " %x"}}));
}

TEST(StrictYamlTest, ManyDirectivesAreRefusedAtOnce) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "%TAG !" + std::to_string(i) + "! !x\n";
  EXPECT_THAT(refusal_of(text + "---\na: 1\n"), HasSubstr("no directives (line 1 of"));
}

TEST(StrictYamlTest, WhatJsonDoesNotHaveIsRefused) {
  EXPECT_THAT(refusal_of("a: &x 1\nb: *x\n"), HasSubstr("no aliases (line 2, column 4"));
  EXPECT_THAT(refusal_of("a: !!str 1\n"), HasSubstr("no tags"));
  EXPECT_THAT(refusal_of("a: !x [1]\n"), HasSubstr("no tags"));
  EXPECT_THAT(refusal_of("a: !x {b: 1}\n"), HasSubstr("no tags"));
  EXPECT_THAT(refusal_of("[1]: 2\n"), HasSubstr("key must be a scalar"));
  EXPECT_THAT(refusal_of("a: 1\n---\nb: 2\n"), HasSubstr("one document (line 2"));
}

}  // namespace
}  // namespace longrope
