#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// Token ids of one document and, optionally, which of them count (needle, LongPPL). Never padded, never wrapped.
struct Document {
  std::string name;
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> scored;  // empty (all count), or [tokens.size()] of 0 and 1
};

/// SHA-256 in hex over tokens and mask, not the name: the identity of a document in messages and database. The bytes
/// that are hashed are laid down in schemas/documents_file.md, because other programs compute it too.
[[nodiscard]] std::string digest(const Document& document);

/// One file of documents (schemas/documents_file.md): a safetensors file with "NAME" int32 [T] and optionally
/// "NAME.scored" uint8 [T] per document; metadata: format "longrope-documents/1", tokenizer_digest, source.
struct DocumentsFile {
  std::vector<Document> documents;  // in name order
  std::string tokenizer_digest;     // "byte-level" for byte-level models, else SHA-256 of tokenizer.json
  std::string source;               // where the text came from, for people; may be empty
};

/// Throws InputError naming file, document and rule: another format, wrong dtype, empty document, empty mask, mask of
/// another length, negative token.
[[nodiscard]] DocumentsFile read_documents(const std::filesystem::path& path);
/// Throws InputError by the same rules, and for two documents of one name; Error when writing fails.
void write_documents(const DocumentsFile& file, const std::filesystem::path& path);

/// Throws InputError for a document that a search cannot score: fewer than `length` tokens, a token >= vocabulary, no
/// scored token within `length`.
void require_scorable(const Document& document, std::int64_t length, std::int64_t vocabulary);
/// The same for several documents of the file `path`, which the message names too.
void require_scorable(std::span<const Document> documents, const std::filesystem::path& path, std::int64_t length,
                      std::int64_t vocabulary);

/// Throws InputError for documents that were made with another tokenizer than that of a Hugging Face directory, by the
/// digest of its tokenizer.json. For a directory without that file all documents are accepted.
void require_tokenizer(const DocumentsFile& file, const std::filesystem::path& path,
                       const std::filesystem::path& model_directory);
/// read_documents(), then require_tokenizer().
[[nodiscard]] DocumentsFile read_documents_for(const std::filesystem::path& path,
                                               const std::filesystem::path& model_directory);

/// How many of the first `length` tokens are scored: all but the first, or those of them that the mask counts.
[[nodiscard]] std::int64_t scored_tokens(const Document& document, std::int64_t length);

}  // namespace longrope
