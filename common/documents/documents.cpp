#include "common/documents/documents.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "common/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <span>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

// Tokens are copied between file and memory as they are.
static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kFormat = "longrope-documents/1";
constexpr std::string_view kMaskSuffix = ".scored";
constexpr std::size_t kMaxNameBytes = 200;

std::string place(const std::filesystem::path& path, std::string_view document) {
  return fmt::format(" ({}, document {})", path.string(), document);
}

void require_name(const std::string& name, const std::filesystem::path& path) {
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20U || c == 0x7F; };
  if (name.empty() || name.size() > kMaxNameBytes || std::any_of(name.begin(), name.end(), control) ||
      name.ends_with(kMaskSuffix)) {
    throw InputError(fmt::format(
        "a document's name must be 1 to {} bytes without control characters and not end in {}: {} bytes ({})",
        kMaxNameBytes, kMaskSuffix, name.size(), path.string()));
  }
}

void require_content(const Document& document, const std::filesystem::path& path) {
  const auto where = [&] { return place(path, document.name); };
  if (document.tokens.empty()) throw InputError("a document must hold at least one token: none" + where());
  const auto negative =
      std::find_if(document.tokens.begin(), document.tokens.end(), [](auto token) { return token < 0; });
  if (negative != document.tokens.end()) {
    throw InputError(fmt::format("tokens must not be negative: token {} is {}{}", negative - document.tokens.begin(),
                                 *negative, where()));
  }
  if (document.scored.empty()) return;
  if (document.scored.size() != document.tokens.size()) {
    throw InputError(fmt::format("a mask must be as long as its document: {} for {} tokens{}", document.scored.size(),
                                 document.tokens.size(), where()));
  }
  const auto wrong = std::find_if(document.scored.begin(), document.scored.end(), [](auto flag) { return flag > 1; });
  if (wrong != document.scored.end()) {
    throw InputError(fmt::format("a mask must hold 0 and 1 only: position {} is {}{}", wrong - document.scored.begin(),
                                 static_cast<int>(*wrong), where()));
  }
  if (std::find(document.scored.begin() + 1, document.scored.end(), 1) == document.scored.end()) {
    throw InputError("a mask must count at least one token after the first: none" + where());
  }
}

template <typename Element>
std::vector<Element> elements(const TensorView& tensor, std::string_view dtype, const std::string& name,
                              const std::filesystem::path& path) {
  if (tensor.dtype != dtype || tensor.shape.size() != 1) {
    throw InputError(fmt::format("a tensor of documents must be {} with one dimension: {} with {}{}", dtype,
                                 tensor.dtype, tensor.shape.size(), place(path, name)));
  }
  std::vector<Element> values(tensor.bytes.size() / sizeof(Element));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());  // may be unaligned
  return values;
}

template <typename Element>
TensorToWrite tensor_of(std::string dtype, const std::vector<Element>& values) {
  return {std::move(dtype), {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))};
}

std::string metadata_entry(const SafetensorsFile& file, const std::string& key) {
  const auto entry = file.metadata().find(key);
  return entry == file.metadata().end() ? "" : entry->second;
}

template <typename Element>
void hash_array(Sha256& hash, const std::vector<Element>& values) {
  const auto count = static_cast<std::uint64_t>(values.size());
  hash.update(std::as_bytes(std::span(&count, 1)));
  hash.update(std::as_bytes(std::span(values)));
}

/// Names the way from a text to documents, where a reader of safetensors would speak of its header's length: its upper
/// four bytes are zero in every such file, and in no text.
void require_no_text(const std::filesystem::path& path) {
  std::array<char, 8> begin{};
  std::ifstream(path, std::ios::binary).read(begin.data(), begin.size());
  if (std::all_of(begin.begin() + 4, begin.end(), [](char byte) { return byte == '\0'; })) return;
  throw InputError(fmt::format(
      "documents must be tokens in a safetensors file, made from texts by `tools/prepare_documents.py "
      "--tokenizer MODEL --length TOKENS --out FILE.safetensors {}`, or for a byte-level model by `longrope "
      "documents`: {}",
      path.filename().string(), path.string()));
}

}  // namespace

std::string digest(const Document& document) {
  Sha256 hash;
  hash_array(hash, document.tokens);
  hash_array(hash, document.scored);
  return hash.hex();
}

DocumentsFile read_documents(const std::filesystem::path& path) {
  require_no_text(path);
  const SafetensorsFile file(path);
  if (const std::string format = metadata_entry(file, "format"); format != kFormat) {
    throw InputError(fmt::format("a documents file must have the metadata format \"{}\": \"{}\" ({})", kFormat,
                                 format.substr(0, kMaxNameBytes), path.string()));
  }
  DocumentsFile result;
  result.tokenizer_digest = metadata_entry(file, "tokenizer_digest");
  result.source = metadata_entry(file, "source");
  if (result.tokenizer_digest.empty()) {
    throw InputError(
        fmt::format("a documents file must have the metadata tokenizer_digest: absent ({})", path.string()));
  }
  for (const auto& [name, tensor] : file.tensors()) {
    if (name.ends_with(kMaskSuffix)) {
      const std::string owner = name.substr(0, name.size() - kMaskSuffix.size());
      if (!file.tensors().contains(owner)) throw InputError("a mask must belong to a document" + place(path, owner));
      continue;
    }
    require_name(name, path);
    Document document{name, elements<std::int32_t>(tensor, "I32", name, path), {}};
    if (const auto mask = file.tensors().find(name + std::string(kMaskSuffix)); mask != file.tensors().end()) {
      document.scored = elements<std::uint8_t>(mask->second, "U8", mask->first, path);
      if (document.scored.empty()) throw InputError("a mask must not be empty" + place(path, name));
    }
    require_content(document, path);
    result.documents.push_back(std::move(document));
  }
  if (result.documents.empty()) {
    throw InputError(fmt::format("a documents file must hold at least one document: none ({})", path.string()));
  }
  return result;
}

void write_documents(const DocumentsFile& file, const std::filesystem::path& path) {
  if (file.documents.empty()) {
    throw InputError(fmt::format("a documents file must hold at least one document: none ({})", path.string()));
  }
  if (file.tokenizer_digest.empty()) {
    throw InputError(
        fmt::format("a documents file must have the metadata tokenizer_digest: absent ({})", path.string()));
  }
  std::map<std::string, TensorToWrite> tensors;
  for (const Document& document : file.documents) {
    require_name(document.name, path);
    require_content(document, path);
    if (!tensors.emplace(document.name, tensor_of("I32", document.tokens)).second) {
      throw InputError("names of documents must differ" + place(path, document.name));
    }
    if (!document.scored.empty()) {
      tensors.emplace(document.name + std::string(kMaskSuffix), tensor_of("U8", document.scored));
    }
  }
  write_safetensors(
      path, tensors,
      {{"format", std::string(kFormat)}, {"tokenizer_digest", file.tokenizer_digest}, {"source", file.source}});
}

void require_tokenizer(const DocumentsFile& file, const std::filesystem::path& path,
                       const std::filesystem::path& model_directory) {
  const std::filesystem::path tokenizer = model_directory / "tokenizer.json";
  std::error_code ignored;
  if (!std::filesystem::exists(tokenizer, ignored)) return;
  if (const std::string digest = sha256_of_file(tokenizer); digest != file.tokenizer_digest) {
    throw InputError(
        fmt::format("documents must be tokens of the model's tokenizer: {} made them, {} is {}; prepare them with "
                    "--tokenizer {} ({})",
                    file.tokenizer_digest, tokenizer.native(), digest, model_directory.native(), path.native()));
  }
}

DocumentsFile read_documents_for(const std::filesystem::path& path, const std::filesystem::path& model_directory) {
  DocumentsFile file = read_documents(path);
  require_tokenizer(file, path, model_directory);
  return file;
}

void require_scorable(const Document& document, std::int64_t length, std::int64_t vocabulary) {
  const auto available = static_cast<std::int64_t>(document.tokens.size());
  if (length < 2) throw InputError(fmt::format("a length must be at least 2 tokens to score one: {}", length));
  if (available < length) {
    throw InputError(
        fmt::format("a document must hold at least {} tokens: {} (document {})", length, available, document.name));
  }
  const auto end = document.tokens.begin() + length;
  const auto outside =
      std::find_if(document.tokens.begin(), end, [&](std::int32_t token) { return token < 0 || token >= vocabulary; });
  if (outside != end) {
    throw InputError(fmt::format("tokens must be below the vocabulary of {}: token {} is {} (document {})", vocabulary,
                                 outside - document.tokens.begin(), *outside, document.name));
  }
  if (document.scored.empty()) return;
  if (document.scored.size() != document.tokens.size()) {
    throw InputError(fmt::format("a mask must be as long as its document: {} for {} tokens (document {})",
                                 document.scored.size(), available, document.name));
  }
  // Position 0 has nothing before it and is never scored.
  if (std::find(document.scored.begin() + 1, document.scored.begin() + length, 1) == document.scored.begin() + length) {
    throw InputError(fmt::format("a mask must count at least one of the first {} tokens: none (document {})", length,
                                 document.name));
  }
}

void require_scorable(std::span<const Document> documents, const std::filesystem::path& path, std::int64_t length,
                      std::int64_t vocabulary) {
  for (const Document& document : documents) {
    try {
      require_scorable(document, length, vocabulary);
    } catch (const InputError& error) {
      throw InputError(fmt::format("{} ({})", error.what(), path.native()));
    }
  }
}

std::int64_t scored_tokens(const Document& document, std::int64_t length) {
  if (document.scored.empty()) return length - 1;
  return std::count(document.scored.begin() + 1, document.scored.begin() + length, 1);
}

}  // namespace longrope
