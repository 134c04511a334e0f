#include "common/documents/byte_documents.h"

#include "common/error.h"
#include "common/files/read_file.h"
#include "common/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <set>
#include <span>
#include <utility>

namespace longrope {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;
constexpr double kShareTolerance = 1e-9;  // 0.1 + 0.2 + 0.7 is not exactly 1

struct Window {
  std::size_t text;
  std::size_t index;
};

/// Windows floor(i·W/count) of W: the first window of each of `count` equal parts.
std::vector<Window> evenly_spaced(const std::vector<Window>& windows, std::int64_t count) {
  if (count < 1 || static_cast<std::size_t>(count) > windows.size()) {
    throw InputError(
        fmt::format("count must lie in [1, {}], the documents that the texts give: {}", windows.size(), count));
  }
  const auto wanted = static_cast<std::size_t>(count);
  std::vector<Window> chosen;
  for (std::size_t i = 0; i < wanted; ++i) chosen.push_back(windows[i * windows.size() / wanted]);
  return chosen;
}

SplitShare parse_share(std::string_view part) {
  const std::size_t colon = part.find(':');
  if (colon == std::string_view::npos) {
    throw InputError(fmt::format("a split must be written NAME:SHARE,NAME:SHARE: {}", part));
  }
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  SplitShare share{std::string(part.substr(0, colon)), 0.0};
  if (share.name.empty() || share.name.find_first_not_of(kAllowed) != std::string::npos) {
    throw InputError(fmt::format("names in a split must consist of a-z A-Z 0-9 _ -: {}", share.name));
  }
  const std::string_view number = part.substr(colon + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), share.share);
  if (error != std::errc() || end != number.data() + number.size() || !(share.share > 0.0 && share.share <= 1.0)) {
    throw InputError(fmt::format("shares in a split must lie in (0, 1]: {}", part));
  }
  return share;
}

}  // namespace

ByteText read_byte_text(const std::filesystem::path& path) {
  return {path.stem().string(), std::string(without_byte_order_mark(read_file(path, kMaxTextBytes)))};
}

std::vector<Document> byte_documents(const std::vector<ByteText>& texts, const ByteDocumentsOptions& options) {
  const std::int64_t special = (options.bos ? 1 : 0) + (options.eos ? 1 : 0);
  const std::int64_t shortest = std::max<std::int64_t>(2, special + 1);
  if (options.length < shortest) {
    throw InputError(fmt::format("length must be at least {} tokens: {}", shortest, options.length));
  }
  if (options.bos && *options.bos < 0) throw InputError(fmt::format("bos must not be negative: {}", *options.bos));
  if (options.eos && *options.eos < 0) throw InputError(fmt::format("eos must not be negative: {}", *options.eos));
  const auto window_bytes = static_cast<std::size_t>(options.length - special);
  std::set<std::string> names;
  std::vector<Window> windows;
  for (std::size_t text = 0; text < texts.size(); ++text) {
    const std::size_t size = texts[text].bytes.size();
    if (!names.insert(texts[text].name).second) {
      throw InputError(fmt::format("names of texts must differ: {}", texts[text].name));
    }
    if (size < window_bytes) {
      throw InputError(
          fmt::format("a text must hold at least {} bytes: {} (text {})", window_bytes, size, texts[text].name));
    }
    for (std::size_t index = 0; index < size / window_bytes; ++index) windows.push_back({text, index});
  }
  if (options.count) windows = evenly_spaced(windows, *options.count);

  std::vector<Document> documents;
  for (const Window& window : windows) {
    const ByteText& text = texts[window.text];
    Document document{fmt::format("{}-{:04}", text.name, window.index), {}, {}};
    document.tokens.reserve(static_cast<std::size_t>(options.length));
    if (options.bos) document.tokens.push_back(*options.bos);
    for (const char byte : std::string_view(text.bytes).substr(window.index * window_bytes, window_bytes)) {
      document.tokens.push_back(static_cast<unsigned char>(byte));
    }
    if (options.eos) document.tokens.push_back(*options.eos);
    documents.push_back(std::move(document));
  }
  return documents;
}

std::vector<SplitShare> parse_split(std::string_view text) {
  std::vector<SplitShare> shares;
  std::set<std::string> names;
  double sum = 0.0;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    shares.push_back(parse_share(text.substr(begin, end - begin)));
    if (!names.insert(shares.back().name).second) {
      throw InputError(fmt::format("names in a split must differ: {}", shares.back().name));
    }
    sum += shares.back().share;
    begin = end + 1;
  }
  if (sum > 1.0 + kShareTolerance) throw InputError(fmt::format("shares of a split must add up to at most 1: {}", sum));
  return shares;
}

double split_position(const Document& document) {
  constexpr std::size_t kHexDigits = 16;  // the leading 64 bits
  constexpr int kMantissaBits = 53;
  constexpr int kHexadecimal = 16;
  const std::string name = digest(document);
  const std::string hash = Sha256().update(std::as_bytes(std::span(name))).hex();
  std::uint64_t bits = 0;
  std::from_chars(hash.data(), hash.data() + kHexDigits, bits, kHexadecimal);
  return std::ldexp(static_cast<double>(bits >> (64 - kMantissaBits)), -kMantissaBits);
}

std::vector<std::vector<Document>> split_documents(const std::vector<Document>& documents,
                                                   const std::vector<SplitShare>& shares) {
  // Upper ends in order of the shares. Shares that add up to 1 leave nothing out, however their sum is rounded.
  std::vector<double> ends;
  double sum = 0.0;
  for (const SplitShare& share : shares) ends.push_back(sum += share.share);
  if (!ends.empty() && std::abs(sum - 1.0) <= kShareTolerance) ends.back() = 1.0;

  std::vector<std::vector<Document>> parts(shares.size());
  for (const Document& document : documents) {
    const auto end = std::upper_bound(ends.begin(), ends.end(), split_position(document));
    if (end != ends.end()) parts[static_cast<std::size_t>(end - ends.begin())].push_back(document);
  }
  for (std::size_t j = 0; j < shares.size(); ++j) {
    if (!parts[j].empty()) continue;
    throw InputError(fmt::format("every share of a split must get a document: none of {} falls to {}", documents.size(),
                                 shares[j].name));
  }
  return parts;
}

std::filesystem::path split_path(const std::filesystem::path& out, std::string_view share_name) {
  std::filesystem::path path = out;
  path.replace_filename(fmt::format("{}-{}{}", out.stem().string(), share_name, out.extension().string()));
  return path;
}

}  // namespace longrope
