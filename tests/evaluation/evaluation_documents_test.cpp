#include "evaluation/evaluation_documents.h"

#include "common/sha256.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

namespace longrope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// Eight tokens, of which the last two are the answer.
Document hidden(const std::string& name, std::int32_t token) {
  return {.name = name, .tokens = std::vector<std::int32_t>(8, token), .scored = {0, 0, 0, 0, 0, 0, 1, 1}};
}

class EvaluationDocumentsTest : public testing::Test {
 protected:
  EvaluationDocumentsTest() {
    model_.directory = directory_.path();
    model_.vocabulary = 100;
  }

  std::string write(const std::string& name, const std::vector<Document>& documents) const {
    const std::filesystem::path path = directory_ / name;
    write_documents({.documents = documents, .tokenizer_digest = "byte-level", .source = ""}, path);
    return path.string();
  }

  TemporaryDirectory directory_;
  ModelDescription model_;
};

TEST_F(EvaluationDocumentsTest, AFileIsKnownByTheDigestsOfItsDocuments) {
  const std::vector<Document> documents = {hidden("a", 1), hidden("b", 2)};
  const std::string digests = digest(documents[0]) + digest(documents[1]);
  Sha256 hash;
  hash.update(std::as_bytes(std::span(digests)));
  EXPECT_EQ(evaluated_file("folder/books.safetensors", documents),
            (EvaluatedFile{.file = "books.safetensors", .count = 2, .digest = hash.hex()}));
}

TEST_F(EvaluationDocumentsTest, EachDocumentHasTheDepthOfItsName) {
  const std::string keys = write("keys.safetensors", {hidden("passkey-0.250-00", 1), hidden("passkey-0.500-00", 2)});
  const std::string needles = write("needles.safetensors", {hidden("needle-1.000-00", 1)});
  RetrievalDocuments retrieval;
  read_retrieval_documents(RetrievalKind::kPasskey, {keys}, model_, retrieval);
  // One document may be a pass key and a needle.
  read_retrieval_documents(RetrievalKind::kNeedle, {needles}, model_, retrieval);
  ASSERT_EQ(retrieval.files.size(), 2U);
  EXPECT_EQ(retrieval.files[0].kind, RetrievalKind::kPasskey);
  EXPECT_EQ(retrieval.files[0].documents.count, 2);
  EXPECT_EQ(retrieval.files[1].documents.file, "needles.safetensors");
  ASSERT_EQ(retrieval.documents.size(), 3U);
  EXPECT_EQ(retrieval.documents[1].depth, 0.5);
  EXPECT_EQ(retrieval.documents[2].kind, RetrievalKind::kNeedle);
  EXPECT_EQ(retrieval.documents[2].depth, 1.0);
}

TEST_F(EvaluationDocumentsTest, ADocumentThatWouldCountTwiceIsRefused) {
  const std::string one = write("one.safetensors", {hidden("passkey-0.250-00", 1)});
  const std::string two = write("two.safetensors", {hidden("passkey-0.250-07", 1)});
  RetrievalDocuments retrieval;
  EXPECT_THAT(refusal([&] { read_retrieval_documents(RetrievalKind::kPasskey, {one, two}, model_, retrieval); }),
              AllOf(HasSubstr("passkey documents must differ"), HasSubstr("passkey-0.250-00, " + one),
                    HasSubstr("passkey-0.250-07, " + two)));
}

TEST_F(EvaluationDocumentsTest, DocumentsWithoutMaskDepthOrTokensOfTheModelAreRefused) {
  const auto refusal_of = [&](const Document& document) {
    const std::string path = write("keys.safetensors", {document});
    RetrievalDocuments retrieval;
    return refusal([&] { read_retrieval_documents(RetrievalKind::kPasskey, {path}, model_, retrieval); });
  };
  Document unmasked = hidden("passkey-0.250-00", 1);
  unmasked.scored.clear();
  EXPECT_THAT(refusal_of(unmasked), AllOf(HasSubstr("mask of the answers"), HasSubstr("keys.safetensors")));
  EXPECT_THAT(refusal_of(hidden("key", 1)), AllOf(HasSubstr("-DEPTH-SAMPLE"), HasSubstr("keys.safetensors")));
  EXPECT_THAT(refusal_of(hidden("passkey-0.250-00", 100)), AllOf(HasSubstr("100"), HasSubstr("keys.safetensors")));
}

}  // namespace
}  // namespace longrope
