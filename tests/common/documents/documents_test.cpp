#include "common/documents/documents.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::filesystem::path kFixtures = LONGROPE_SOURCE_DIR "/tests/fixtures/documents";

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no InputError";
}

class DocumentsTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) /
                 ("documents_test-" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    path_ = directory_ / "documents.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// Writes tensors that write_documents() would refuse.
  void write_raw(const std::map<std::string, TensorToWrite>& tensors,
                 const std::map<std::string, std::string>& metadata = {{"format", "longrope-documents/1"},
                                                                       {"tokenizer_digest", "byte-level"}}) {
    write_safetensors(path_, tensors, metadata);
  }

  std::string refusal() {
    return message_of([&] { static_cast<void>(read_documents(path_)); });
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

template <typename Element>
TensorToWrite tensor(std::string dtype, const std::vector<Element>& values) {
  return {std::move(dtype), {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))};
}

const std::vector<std::int32_t> kTokens = {256, 72, 105};

TEST_F(DocumentsTest, WrittenDocumentsAreReadBackInNameOrder) {
  const DocumentsFile written{
      {{"b", {1, std::numeric_limits<std::int32_t>::max(), 0}, {0, 1, 0}}, {"a.x", {7}, {}}}, "digest", "book.txt"};
  write_documents(written, path_);
  const DocumentsFile read = read_documents(path_);
  ASSERT_EQ(read.documents.size(), 2U);
  EXPECT_EQ(read.documents[0].name, "a.x");
  EXPECT_EQ(read.documents[0].tokens, written.documents[1].tokens);
  EXPECT_TRUE(read.documents[0].scored.empty());
  EXPECT_EQ(read.documents[1].name, "b");
  EXPECT_EQ(read.documents[1].tokens, written.documents[0].tokens);
  EXPECT_EQ(read.documents[1].scored, written.documents[0].scored);
  EXPECT_EQ(read.tokenizer_digest, "digest");
  EXPECT_EQ(read.source, "book.txt");
}

TEST_F(DocumentsTest, FileOfTheSafetensorsPackageIsRead) {
  const DocumentsFile read = read_documents(kFixtures / "two_documents.safetensors");
  ASSERT_EQ(read.documents.size(), 2U);
  EXPECT_EQ(read.documents[0].name, "masked");
  EXPECT_EQ(read.documents[0].tokens, (std::vector<std::int32_t>{1, 5, 0, 2147483647, 7}));
  EXPECT_EQ(read.documents[0].scored, (std::vector<std::uint8_t>{0, 0, 1, 0, 1}));
  EXPECT_EQ(read.documents[1].name, "plain");
  EXPECT_EQ(read.documents[1].tokens.size(), 17U);
  EXPECT_EQ(read.tokenizer_digest, "byte-level");
}

TEST_F(DocumentsTest, DigestMatchesTheGoldenValues) {
  std::ifstream stream(kFixtures / "golden.json");
  const nlohmann::json golden = nlohmann::json::parse(stream);
  ASSERT_FALSE(golden.at("documents").empty());
  for (const nlohmann::json& entry : golden.at("documents")) {
    const Document document{"any name", entry.at("tokens").get<std::vector<std::int32_t>>(),
                            entry.at("scored").get<std::vector<std::uint8_t>>()};
    EXPECT_EQ(digest(document), entry.at("digest").get<std::string>()) << entry.at("name");
  }
}

TEST_F(DocumentsTest, DigestDependsOnTokensAndMaskButNotOnTheName) {
  const Document document{"a", {1, 2, 3}, {}};
  EXPECT_EQ(digest(document), digest({"b", {1, 2, 3}, {}}));
  EXPECT_NE(digest(document), digest({"a", {1, 2, 4}, {}}));
  EXPECT_NE(digest(document), digest({"a", {1, 2, 3}, {1, 1, 1}}));
  EXPECT_NE(digest({"a", {1, 2}, {1, 1}}), digest({"a", {1, 2}, {0, 1}}));
}

TEST_F(DocumentsTest, TextIsRefusedWithTheWayToDocuments) {
  path_ = directory_ / "books.txt";
  std::ofstream(path_) << "It was a bright cold day in April, and the clocks were striking thirteen.";
  EXPECT_THAT(refusal(),
              HasSubstr("made from texts by `tools/prepare_documents.py --tokenizer MODEL --length TOKENS --out "
                        "FILE.safetensors books.txt`"));
}

TEST_F(DocumentsTest, OtherFormatIsRefused) {
  write_raw({{"a", tensor("I32", kTokens)}}, {{"format", "pt"}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("longrope-documents/1"), HasSubstr("\"pt\""), HasSubstr(path_.string())));
  write_raw({{"a", tensor("I32", kTokens)}}, {});
  EXPECT_THAT(refusal(), HasSubstr("longrope-documents/1"));
}

TEST_F(DocumentsTest, MissingTokenizerDigestIsRefused) {
  write_raw({{"a", tensor("I32", kTokens)}}, {{"format", "longrope-documents/1"}});
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_digest"));
}

TEST_F(DocumentsTest, WrongDtypeIsRefusedByDocumentName) {
  const std::vector<std::int64_t> wide = {1, 2, 3};
  write_raw({{"a", tensor("I64", wide)}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("I32"), HasSubstr("I64"), HasSubstr("document a")));
  write_raw({{"a", tensor("I32", kTokens)}, {"a.scored", tensor("I32", kTokens)}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("U8"), HasSubstr("document a.scored")));
}

TEST_F(DocumentsTest, TwoDimensionsAreRefused) {
  TensorToWrite matrix = tensor("I32", kTokens);
  matrix.shape = {1, 3};
  write_raw({{"a", matrix}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("one dimension"), HasSubstr("document a")));
}

TEST_F(DocumentsTest, EmptyDocumentIsRefused) {
  const std::vector<std::int32_t> none;
  write_raw({{"a", tensor("I32", none)}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("at least one token"), HasSubstr("document a")));
}

TEST_F(DocumentsTest, FileWithoutDocumentsIsRefused) {
  write_raw({});
  EXPECT_THAT(refusal(), HasSubstr("at least one document"));
}

TEST_F(DocumentsTest, NegativeTokenIsRefusedWithItsPosition) {
  const std::vector<std::int32_t> tokens = {1, -2, 3};
  write_raw({{"a", tensor("I32", tokens)}});
  EXPECT_THAT(refusal(), HasSubstr("token 1 is -2"));
}

TEST_F(DocumentsTest, BadMaskIsRefused) {
  const std::vector<std::pair<std::vector<std::uint8_t>, std::string>> masks = {
      {{}, "must not be empty"},      {{1, 1}, "2 for 3 tokens"},     {{0, 2, 0}, "position 1 is 2"},
      {{0, 0, 0}, "after the first"}, {{1, 0, 0}, "after the first"},
  };
  for (const auto& [mask, rule] : masks) {
    write_raw({{"a", tensor("I32", kTokens)}, {"a.scored", tensor("U8", mask)}});
    EXPECT_THAT(refusal(), AllOf(HasSubstr(rule), HasSubstr("document a")));
  }
}

TEST_F(DocumentsTest, MaskWithoutDocumentIsRefused) {
  const std::vector<std::uint8_t> mask = {0, 1, 0};
  write_raw({{"a", tensor("I32", kTokens)}, {"b.scored", tensor("U8", mask)}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("belong to a document"), HasSubstr("document b")));
}

TEST_F(DocumentsTest, NameThatWouldGarbleAMessageIsRefused) {
  for (const std::string& name : {std::string("a\x1b[2J"), std::string(201, 'a'), std::string()}) {
    write_raw({{name, tensor("I32", kTokens)}});
    EXPECT_THAT(refusal(), HasSubstr("name must be"));
  }
}

TEST_F(DocumentsTest, MissingOrGarbledFileIsRefused) {
  EXPECT_THAT(refusal(), HasSubstr(path_.string()));
  std::ofstream(path_) << "no safetensors file at all";
  EXPECT_THAT(refusal(), HasSubstr(path_.string()));
}

TEST_F(DocumentsTest, WriterRefusesWhatTheReaderWouldRefuse) {
  const auto write = [&](std::vector<Document> documents, const std::string& tokenizer) {
    return message_of([&] { write_documents({std::move(documents), tokenizer, ""}, path_); });
  };
  EXPECT_THAT(write({}, "byte-level"), HasSubstr("at least one document"));
  EXPECT_THAT(write({{"a", {1}, {}}}, ""), HasSubstr("tokenizer_digest"));
  EXPECT_THAT(write({{"a", {1}, {}}, {"a", {2}, {}}}, "byte-level"), HasSubstr("must differ"));
  EXPECT_THAT(write({{"a.scored", {1}, {}}}, "byte-level"), HasSubstr("name must be"));
  EXPECT_THAT(write({{"a", {}, {}}}, "byte-level"), HasSubstr("at least one token"));
  EXPECT_THAT(write({{"a", {1, -1}, {}}}, "byte-level"), HasSubstr("negative"));
  EXPECT_THAT(write({{"a", {1, 1}, {0}}}, "byte-level"), HasSubstr("as long as"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(DocumentsTest, DocumentsOfAnotherTokenizerAreRefusedWithBothDigests) {
  std::ofstream(directory_ / "tokenizer.json") << "{}";
  const std::string digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";  // sha256sum
  DocumentsFile file{{{"a", kTokens, {}}}, digest, ""};
  require_tokenizer(file, path_, directory_);
  file.tokenizer_digest = "byte-level";
  const std::string refusal = message_of([&] { require_tokenizer(file, path_, directory_); });
  for (const std::string& part : {std::string("byte-level"), digest, path_.string()}) {
    EXPECT_NE(refusal.find(part), std::string::npos) << part << " not in: " << refusal;
  }
}

TEST_F(DocumentsTest, DirectoryWithoutATokenizerAcceptsEveryDocument) {
  require_tokenizer({{{"a", kTokens, {}}}, "byte-level", ""}, path_, directory_);
}

TEST_F(DocumentsTest, ScorableDocumentMayBeLongerThanTheLength) {
  require_scorable({"a", {1, 2, 3, 400}, {}}, /*length=*/3, /*vocabulary=*/4);
  require_scorable({"a", {1, 2, 3}, {0, 0, 1}}, /*length=*/3, /*vocabulary=*/4);
}

TEST_F(DocumentsTest, UnscorableDocumentIsRefused) {
  const auto refusal = [](const Document& document, std::int64_t length) {
    return message_of([&] { require_scorable(document, length, /*vocabulary=*/258); });
  };
  EXPECT_THAT(refusal({"a", {1, 2, 3}, {}}, 4), AllOf(HasSubstr("at least 4 tokens: 3"), HasSubstr("document a")));
  EXPECT_THAT(refusal({"a", {1, 2, 258}, {}}, 3), AllOf(HasSubstr("258"), HasSubstr("token 2")));
  EXPECT_THAT(refusal({"a", {1, -1, 3}, {}}, 3), HasSubstr("token 1 is -1"));
  EXPECT_THAT(refusal({"a", {1, 2, 3, 4}, {1, 0, 0, 1}}, 3), HasSubstr("first 3 tokens"));
  EXPECT_THAT(refusal({"a", {1, 2, 3}, {1, 1}}, 3), HasSubstr("as long as"));
  EXPECT_THAT(refusal({"a", {1, 2, 3}, {}}, 1), HasSubstr("at least 2"));
}

}  // namespace
}  // namespace longrope
