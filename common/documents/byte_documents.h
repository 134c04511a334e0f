#pragma once

#include "common/documents/documents.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// Documents for byte-level models: a token is the value of a byte. Rules: schemas/documents_file.md.

/// A text to cut into documents.
struct ByteText {
  std::string name;   // the file's name without extension; documents are called NAME-0000, NAME-0001, …
  std::string bytes;  // any bytes, no encoding assumed
};

/// The text of a file, without a UTF-8 byte order mark. Throws InputError for what is not a readable regular file of at
/// most 1 GiB.
[[nodiscard]] ByteText read_byte_text(const std::filesystem::path& path);

inline constexpr std::int32_t kByteLevelBos = 256;  // BOS token of the bundled model

struct ByteDocumentsOptions {
  std::int64_t length = 0;                           // tokens of every document, BOS and EOS included
  std::optional<std::int64_t> count = std::nullopt;  // documents, evenly spaced over all texts; nullopt: all
  std::optional<std::int32_t> bos = kByteLevelBos;   // first token of each document; nullopt: none
  std::optional<std::int32_t> eos = std::nullopt;    // last token of each; training segments have one (spec §5.2)
};

/// Cuts each text, in order, into consecutive windows that do not overlap. A tail shorter than a window is left out,
/// never padded or wrapped. Throws InputError for a text shorter than one window, for two texts of one name, and when
/// there are fewer windows than `count`.
[[nodiscard]] std::vector<Document> byte_documents(const std::vector<ByteText>& texts,
                                                   const ByteDocumentsOptions& options);

/// One part of a split: its name, and the share of all documents it should get.
struct SplitShare {
  std::string name;
  double share = 0.0;

  bool operator==(const SplitShare&) const = default;
};

/// Reads "search:0.4,heldout:0.6". Shares are positive and add up to at most 1; when they add up to less, the rest of
/// the documents is left out. Throws InputError otherwise, and for names that cannot be part of a file name or appear
/// twice.
[[nodiscard]] std::vector<SplitShare> parse_split(std::string_view text);

/// Where a document falls in [0, 1): the leading 53 bits of the SHA-256 of its digest (the 64 hex characters). It
/// depends on nothing but the document: adding others never moves it.
[[nodiscard]] double split_position(const Document& document);

/// The documents of each share, in the shares' order: share j takes the positions in [s_0+…+s_{j−1}, s_0+…+s_j).
/// Throws InputError when a share gets no document.
[[nodiscard]] std::vector<std::vector<Document>> split_documents(const std::vector<Document>& documents,
                                                                 const std::vector<SplitShare>& shares);

/// The file of one share: build/pg19.safetensors and "search" give build/pg19-search.safetensors.
[[nodiscard]] std::filesystem::path split_path(const std::filesystem::path& out, std::string_view share_name);

}  // namespace longrope
