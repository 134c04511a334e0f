#pragma once

#include "common/documents/documents.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// Documents for byte-level models: a token is the value of a byte. Rules: schemas/documents_file.md.
struct ByteText {
  std::string name;   // the file's name without extension; documents are called NAME-0000, NAME-0001, …
  std::string bytes;  // any bytes, no encoding assumed
};

/// Throws InputError for what is no readable file or is larger than 1 GiB.
[[nodiscard]] ByteText read_byte_text(const std::filesystem::path& path);

inline constexpr std::int32_t kByteLevelBos = 256;  // of the bundled model

struct ByteDocumentsOptions {
  std::int64_t length = 0;                           // tokens of every document, BOS and EOS included
  std::optional<std::int64_t> count = std::nullopt;  // so many, evenly spaced over all texts; all by default
  std::optional<std::int32_t> bos = kByteLevelBos;   // nullopt: none
  std::optional<std::int32_t> eos = std::nullopt;    // ends each document; training segments have one (spec §5.2)
};

/// Cuts each text, in order, into consecutive windows that do not overlap. A tail too short for a window is left out,
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

/// "search:0.4,heldout:0.6". Shares are positive and add up to at most 1; with less, the rest of the documents is left
/// out. Throws InputError otherwise, and for names that cannot be part of a file name or appear twice.
[[nodiscard]] std::vector<SplitShare> parse_split(std::string_view text);

/// Where a document falls in [0, 1): the leading 53 bits of the SHA-256 of its digest (the 64 hex characters). It
/// depends on nothing but the document: adding others never moves it.
[[nodiscard]] double split_position(const Document& document);

/// The documents of each share, in the shares' order: share j takes the positions in [s_0+…+s_{j−1}, s_0+…+s_j).
/// Throws InputError when a share gets no document.
[[nodiscard]] std::vector<std::vector<Document>> split_documents(const std::vector<Document>& documents,
                                                                 const std::vector<SplitShare>& shares);

/// build/pg19.safetensors, "search" → build/pg19-search.safetensors
[[nodiscard]] std::filesystem::path split_path(const std::filesystem::path& out, std::string_view share_name);

}  // namespace longrope
