#include "common/files/strict_json.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrope {
namespace {

using testing::HasSubstr;

std::string refusal_of(std::string_view text) {
  return refusal([&] { (void)parse_strict_json(text, "peer.json"); });
}

TEST(StrictJsonTest, WellFormedDocumentIsParsed) {
  const nlohmann::json json = parse_strict_json(R"({"a": [1, {"b": null}], "c": {"a": 0.1}})", "peer.json");
  EXPECT_EQ(json["a"][1]["b"], nullptr);
  EXPECT_EQ(json["c"]["a"].get<double>(), 0.1);
}

TEST(StrictJsonTest, DuplicateKeyIsRefusedByName) {
  EXPECT_EQ(refusal_of(R"({"x": {"lambda": 1, "lambda": 2}})"),
            "JSON key must appear once in an object: \"lambda\" (peer.json)");
}

TEST(StrictJsonTest, SameKeyInSiblingObjectsIsAccepted) {
  EXPECT_EQ(parse_strict_json(R"([{"a": 1}, {"a": 2}])", "peer.json").size(), 2U);
}

TEST(StrictJsonTest, DepthLimitIsInclusive) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW((void)parse_strict_json(nested(16), "peer.json"));
  EXPECT_THAT(refusal_of(nested(17)), HasSubstr("must not nest deeper than 16 levels"));
  EXPECT_NO_THROW((void)parse_strict_json(nested(3), "peer.json", /*max_depth=*/3));
}

TEST(StrictJsonTest, MillionOpenBracketsAreRefusedWithoutRecursion) {
  EXPECT_THAT(refusal_of(std::string(1'000'000, '[')), HasSubstr("must not nest deeper"));
}

TEST(StrictJsonTest, MalformedTextIsRefusedNamingThePlace) {
  for (const std::string_view text : {"", "{", "{} x", "{\"a\": 1,}", "[1 2]", "nul", "[NaN]", "[Infinity]", "[01]",
                                      "{'a': 1}", "[1] // note", "\"\xff\"", "[1e999]", "{\"a\": 1}{"}) {
    EXPECT_THAT(refusal_of(text), HasSubstr("(peer.json)")) << text;
  }
}

}  // namespace
}  // namespace longrope
