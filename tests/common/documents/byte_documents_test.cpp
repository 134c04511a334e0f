#include "common/documents/byte_documents.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no InputError";
}

std::vector<std::string> names(const std::vector<Document>& documents) {
  std::vector<std::string> result;
  for (const Document& document : documents) result.push_back(document.name);
  return result;
}

std::vector<Document> numbered_documents(std::int32_t count) {
  std::vector<Document> documents;
  for (std::int32_t i = 0; i < count; ++i) documents.push_back({std::to_string(i), {256, i}, {}});
  return documents;
}

TEST(ByteDocumentsTest, WindowsFollowEachOtherAfterABosAndTheTailIsLeftOut) {
  const auto documents = byte_documents({{"a", "abcdefgh"}}, {.length = 4, .count = {}, .bos = 256});
  ASSERT_EQ(names(documents), (std::vector<std::string>{"a-0000", "a-0001"}));
  EXPECT_THAT(documents[0].tokens, ElementsAre(256, 'a', 'b', 'c'));
  EXPECT_THAT(documents[1].tokens, ElementsAre(256, 'd', 'e', 'f'));
  EXPECT_TRUE(documents[0].scored.empty());
}

TEST(ByteDocumentsTest, WithoutBosAWindowIsAllText) {
  const auto documents = byte_documents({{"a", "abcdefgh"}}, {.length = 4, .count = {}, .bos = std::nullopt});
  ASSERT_EQ(documents.size(), 2U);
  EXPECT_THAT(documents[1].tokens, ElementsAre('e', 'f', 'g', 'h'));
}

TEST(ByteDocumentsTest, EosEndsEachWindow) {
  const auto documents = byte_documents({{"a", "abcdefgh"}}, {.length = 5, .bos = 256, .eos = 257});
  ASSERT_EQ(documents.size(), 2U);
  EXPECT_THAT(documents[0].tokens, ElementsAre(256, 'a', 'b', 'c', 257));
  EXPECT_THAT(documents[1].tokens, ElementsAre(256, 'd', 'e', 'f', 257));
  EXPECT_THAT(message_of([] { (void)byte_documents({{"a", "abc"}}, {.length = 2, .bos = 256, .eos = 257}); }),
              HasSubstr("at least 3 tokens: 2"));
}

TEST(ByteDocumentsTest, EveryByteIsItsOwnUnsignedToken) {
  std::string bytes(256, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  const auto documents = byte_documents({{"a", bytes}}, {.length = 257, .count = {}, .bos = 256});
  ASSERT_EQ(documents.size(), 1U);
  EXPECT_EQ(documents[0].tokens[0], 256);
  for (std::int32_t byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(documents[0].tokens[static_cast<std::size_t>(byte) + 1], byte);
  }
}

TEST(ByteDocumentsTest, CountTakesEvenlySpacedWindowsOverAllTexts) {
  const ByteText a{"a", std::string(7, 'a')};
  const ByteText b{"b", std::string(3, 'b')};
  // Windows of one byte: a-0000 … a-0006, b-0000 … b-0002; floor(i · 10 / 4) = 0, 2, 5, 7.
  const auto documents = byte_documents({a, b}, {.length = 2, .count = 4, .bos = 256});
  EXPECT_EQ(names(documents), (std::vector<std::string>{"a-0000", "a-0002", "a-0005", "b-0000"}));
}

TEST(ByteDocumentsTest, BadOptionsAndTextsAreRefused) {
  const auto refusal = [](const std::vector<ByteText>& texts, const ByteDocumentsOptions& options) {
    return message_of([&] { static_cast<void>(byte_documents(texts, options)); });
  };
  EXPECT_THAT(refusal({{"a", "abc"}}, {.length = 5}), HasSubstr("at least 4 bytes: 3 (text a)"));
  EXPECT_THAT(refusal({{"a", ""}}, {.length = 5}), HasSubstr("at least 4 bytes: 0 (text a)"));
  EXPECT_THAT(refusal({{"a", "abc"}}, {.length = 1}), HasSubstr("at least 2 tokens: 1"));
  EXPECT_THAT(refusal({{"a", "abc"}}, {.length = -3}), HasSubstr("at least 2 tokens: -3"));
  EXPECT_THAT(refusal({{"a", "abc"}}, {.length = 2, .count = 4}), HasSubstr("[1, 3]"));
  EXPECT_THAT(refusal({{"a", "abc"}}, {.length = 2, .count = 0}), HasSubstr("[1, 3]"));
  EXPECT_THAT(refusal({{"a", "abc"}}, {.length = 2, .count = {}, .bos = -1}),
              HasSubstr("bos must not be negative: -1"));
  EXPECT_THAT(refusal({{"a", "abc"}, {"a", "abc"}}, {.length = 2}), HasSubstr("must differ: a"));
  EXPECT_THAT(refusal({}, {.length = 2, .count = 1}), HasSubstr("[1, 0]"));
}

TEST(ByteDocumentsTest, TextIsReadAsBytesAndNamedAfterItsFile) {
  const std::filesystem::path directory = std::filesystem::path(testing::TempDir()) / "byte_documents_test";
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "kjv.txt", std::ios::binary) << "a\r\n\xff";
  const ByteText text = read_byte_text(directory / "kjv.txt");
  EXPECT_EQ(text.name, "kjv");
  EXPECT_EQ(text.bytes, "a\r\n\xff");
  EXPECT_THAT(message_of([&] { static_cast<void>(read_byte_text(directory / "none.txt")); }), HasSubstr("none.txt"));
  EXPECT_THAT(message_of([&] { static_cast<void>(read_byte_text(directory)); }), HasSubstr(directory.string()));
  std::filesystem::remove_all(directory);
}

TEST(ByteDocumentsTest, ByteOrderMarkIsNoText) {
  const std::string mark = "\xef\xbb\xbf";
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "byte_documents_mark.txt";
  std::ofstream(file, std::ios::binary) << mark + "In the" + mark;
  EXPECT_EQ(read_byte_text(file).bytes, "In the" + mark);
  std::filesystem::remove(file);
}

TEST(ByteDocumentsTest, SplitIsParsed) {
  EXPECT_THAT(parse_split("search:0.4,held-out_2:0.5"),
              ElementsAre(SplitShare{"search", 0.4}, SplitShare{"held-out_2", 0.5}));
  EXPECT_EQ(parse_split("a:0.1,b:0.2,c:0.7").size(), 3U);  // the doubles add up to a little less or more than 1
  EXPECT_EQ(parse_split("a:1").size(), 1U);
}

TEST(ByteDocumentsTest, MalformedSplitIsRefused) {
  for (const char* split : {"", "search", "search:", ":0.5", "search:0", "search:-0.5", "search:1.5", "search:nan",
                            "search:0.5x", "a:0.5,a:0.5", "a:0.6,b:0.6", "a/b:0.5", "a:0.5,", "a: 0.5"}) {
    EXPECT_THROW(static_cast<void>(parse_split(split)), InputError) << split;
  }
}

TEST(ByteDocumentsTest, SplitMatchesTheGoldenValues) {
  std::ifstream stream(LONGROPE_SOURCE_DIR "/tests/fixtures/documents/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(stream);
  std::vector<Document> documents;
  std::vector<std::string> search;
  std::vector<std::string> heldout;
  for (const nlohmann::json& entry : golden.at("documents")) {
    documents.push_back({entry.at("name"), entry.at("tokens").get<std::vector<std::int32_t>>(),
                         entry.at("scored").get<std::vector<std::uint8_t>>()});
    EXPECT_EQ(split_position(documents.back()), entry.at("split_position").get<double>());
    (entry.at("part") == "search" ? search : heldout).push_back(entry.at("name"));
  }
  const auto parts = split_documents(documents, parse_split(golden.at("split").get<std::string>()));
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(names(parts[0]), search);
  EXPECT_EQ(names(parts[1]), heldout);
}

TEST(ByteDocumentsTest, AddingDocumentsNeverMovesOne) {
  const auto shares = parse_split("a:0.5,b:0.3,c:0.2");
  const auto few = split_documents(numbered_documents(50), shares);
  const auto many = split_documents(numbered_documents(500), shares);
  std::size_t assigned = 0;
  for (std::size_t j = 0; j < shares.size(); ++j) {
    const std::vector<std::string> all = names(many[j]);
    const std::set<std::string> part(all.begin(), all.end());
    for (const std::string& name : names(few[j])) EXPECT_TRUE(part.contains(name)) << name;
    assigned += all.size();
    // Binomial: 500 draws, deviation at most sqrt(500 · 0.25) = 11.2; five of them.
    EXPECT_NEAR(static_cast<double>(all.size()), 500.0 * shares[j].share, 56.0);
  }
  EXPECT_EQ(assigned, 500U);
}

TEST(ByteDocumentsTest, SharesBelowOneLeaveTheRestOut) {
  const auto parts = split_documents(numbered_documents(500), parse_split("a:0.2"));
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_NEAR(static_cast<double>(parts[0].size()), 100.0, 45.0);  // five deviations of sqrt(500 · 0.2 · 0.8) = 8.9
}

TEST(ByteDocumentsTest, ShareWithoutDocumentsIsRefused) {
  EXPECT_THAT(message_of([] { static_cast<void>(split_documents(numbered_documents(1), parse_split("a:0.5,b:0.5"))); }),
              HasSubstr("none of 1 falls to"));
}

TEST(ByteDocumentsTest, SplitFilesAreNamedAfterTheirShare) {
  EXPECT_EQ(split_path("build/pg19.safetensors", "search"), "build/pg19-search.safetensors");
  EXPECT_EQ(split_path("pg.19", "a"), "pg-a.19");
}

}  // namespace
}  // namespace longrope
