#include "common/files/json_object.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const nlohmann::json kDocument = nlohmann::json::parse(R"({
  "name": "x", "count": 3, "huge": 18446744073709551615, "half": 0.5, "none": null, "flag": true,
  "list": [1, 2.5], "steps": [0, 7], "names": ["a", "b"], "mixed": [1, "b"], "pairs": [[1, 2.5], [3, 4]], "inner": {"deep": {"count": -1}},
  "many": [{"count": 1}, {"count": "two"}]})");

TEST(JsonObjectTest, ValuesOfTheRightTypeAreRead) {
  const JsonObject object(kDocument, "file.json");
  EXPECT_EQ(object.text("name"), "x");
  EXPECT_EQ(object.integer("count", 3, 3), 3);
  EXPECT_EQ(object.number("half"), 0.5);
  EXPECT_EQ(object.number("count"), 3.0);
  EXPECT_EQ(object.number_between("half", 0.5, 0.5), 0.5);
  EXPECT_THAT(object.numbers("list"), ElementsAre(1.0, 2.5));
  EXPECT_THAT(object.number_pairs("pairs"), ElementsAre(std::pair(1.0, 2.5), std::pair(3.0, 4.0)));
  EXPECT_EQ(object.number_above("half", 0.4, 0.5), 0.5);
  EXPECT_TRUE(object.boolean("flag"));
  EXPECT_THAT(object.integers("steps", 0, 7), ElementsAre(0, 7));
  EXPECT_THAT(object.texts("names"), ElementsAre("a", "b"));
  EXPECT_EQ(object.object("inner").object("deep").integer("count", -1), -1);
  EXPECT_EQ(object.objects("many")[0].integer("count", 0), 1);
}

TEST(JsonObjectTest, NullCountsAsAbsent) {
  const JsonObject object(kDocument, "file.json");
  EXPECT_FALSE(object.has("none"));
  EXPECT_FALSE(object.has("missing"));
  EXPECT_TRUE(object.has("flag"));
  EXPECT_EQ(refusal([&] { (void)object.text("none"); }), "none must be given: absent (file.json)");
}

TEST(JsonObjectTest, OptionalValuesMayBeAbsentOrNullButNotWrong) {
  const JsonObject object(kDocument, "file.json");
  EXPECT_EQ(object.optional_text("name"), "x");
  EXPECT_EQ(object.optional_boolean("flag"), true);
  EXPECT_EQ(object.optional_integer("count", 3), 3);
  EXPECT_EQ(object.optional_number_above("half", 0.0, 1.0), 0.5);
  for (const char* const key : {"missing", "none"}) {
    EXPECT_EQ(object.optional_text(key), std::nullopt);
    EXPECT_EQ(object.optional_boolean(key), std::nullopt);
    EXPECT_EQ(object.optional_integer(key, 0), std::nullopt);
    EXPECT_EQ(object.optional_number_above(key, 0.0, 1.0), std::nullopt);
  }
  EXPECT_THAT(refusal([&] { (void)object.optional_text("count"); }), HasSubstr("count must be a string: 3"));
  EXPECT_THAT(refusal([&] { (void)object.optional_boolean("count"); }), HasSubstr("count must be true or false"));
  EXPECT_THAT(refusal([&] { (void)object.optional_integer("half", 0); }), HasSubstr("half must be an integer"));
  EXPECT_THAT(refusal([&] { (void)object.optional_number_above("half", 0.5, 1.0); }), HasSubstr("above 0.5"));
}

TEST(JsonObjectTest, NullIsToldFromAbsenceWhereItIsAsked) {
  const JsonObject object(kDocument, "file.json");
  EXPECT_TRUE(object.is_null("none"));
  EXPECT_FALSE(object.is_null("missing"));
  EXPECT_FALSE(object.is_null("count"));
}

TEST(JsonObjectTest, KeysAreListed) {
  const JsonObject object(kDocument, "file.json");
  EXPECT_THAT(object.object("inner").keys(), ElementsAre("deep"));
  EXPECT_EQ(object.keys().size(), kDocument.size());
}

TEST(JsonObjectTest, ARefusalShowsTheValueOfTheKeyOrAGivenOne) {
  const JsonObject object(kDocument, "file.json");
  EXPECT_EQ(refusal([&] { object.refuse("count", "must be 4"); }), "count must be 4: 3 (file.json)");
  EXPECT_EQ(refusal([&] { object.object("inner").refuse("window", "must be 4", 5); }),
            "inner.window must be 4: 5 (file.json)");
  EXPECT_EQ(object.object("inner").where("window"), "inner.window (file.json)");
}

TEST(JsonObjectTest, WrongValuesAreRefusedWithPathAndPlace) {
  const JsonObject object(kDocument, "file.json");
  EXPECT_EQ(refusal([&] { (void)object.text("count"); }), "count must be a string: 3 (file.json)");
  EXPECT_EQ(refusal([&] { (void)object.integer("half", 0); }),
            "half must be an integer between 0 and 9223372036854775807: 0.5 (file.json)");
  EXPECT_THAT(refusal([&] { (void)object.integer("huge", 0); }), HasSubstr("18446744073709551615"));
  EXPECT_THAT(refusal([&] { (void)object.integer("flag", 0); }), HasSubstr("flag must be an integer"));
  EXPECT_THAT(refusal([&] { (void)object.integer("count", 4); }), HasSubstr("between 4"));
  EXPECT_THAT(refusal([&] { (void)object.number("flag"); }), HasSubstr("flag must be a number: true"));
  EXPECT_EQ(refusal([&] { (void)object.number_between("half", 0.6, 1.5); }),
            "half must be a number from 0.6 to 1.5: 0.5 (file.json)");
  EXPECT_THAT(refusal([&] { (void)object.numbers("mixed"); }), HasSubstr("mixed[1] must be a number: \"b\""));
  EXPECT_THAT(refusal([&] { (void)object.numbers("inner"); }), HasSubstr("inner must be an array: object of 1"));
  EXPECT_THAT(refusal([&] { (void)object.number_pairs("list"); }),
              HasSubstr("list[0] must be an array of two numbers: 1"));
  EXPECT_THAT(refusal([&] { (void)object.integers("list", 0); }), HasSubstr("list[1] must be an integer"));
  EXPECT_THAT(refusal([&] { (void)object.integers("steps", 0, 6); }),
              HasSubstr("steps[1] must be an integer between 0 and 6: 7"));
  EXPECT_EQ(refusal([&] { (void)object.number_above("half", 0.5, 1.0); }),
            "half must be a number above 0.5 and at most 1: 0.5 (file.json)");
  EXPECT_THAT(refusal([&] { (void)object.boolean("count"); }), HasSubstr("count must be true or false: 3"));
  EXPECT_THAT(refusal([&] { (void)object.texts("mixed"); }), HasSubstr("mixed[0] must be a string: 1"));
  EXPECT_THAT(refusal([&] { (void)object.object("inner").object("deep").integer("count", 0); }),
              HasSubstr("inner.deep.count must be"));
  EXPECT_THAT(refusal([&] { (void)object.objects("many")[1].integer("count", 0); }),
              HasSubstr("many[1].count must be"));
  EXPECT_THAT(refusal([&] { (void)object.objects("list"); }), HasSubstr("list[0] must be an object: 1"));
  EXPECT_THAT(refusal([&] { (void)JsonObject(kDocument["list"], "file.json"); }),
              HasSubstr("the document must be an object"));
}

TEST(JsonObjectTest, UnknownKeyIsRefusedByName) {
  const nlohmann::json document = {{"n_hat", 0}, {"nhat", 1}};
  const JsonObject object(document, "file.json");
  EXPECT_NO_THROW(object.refuse_unknown_keys({"n_hat", "nhat", "more"}));
  EXPECT_EQ(refusal([&] { object.refuse_unknown_keys({"n_hat"}); }), "key must be a known one: \"nhat\" (file.json)");
}

TEST(JsonObjectTest, HostileValuesAreShownShortAndEscaped) {
  const nlohmann::json document = {{"name", 1}, {"text", "\x1b[2J" + std::string(1'000'000, 'x')}};
  const JsonObject object(document, "file.json");
  const std::string message = refusal([&] { (void)object.number("text"); });
  EXPECT_LT(message.size(), 200U);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace longrope
