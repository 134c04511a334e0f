#include "pipeline/shared_text.h"

#include <algorithm>
#include <span>
#include <utility>

namespace longrope {
namespace {

constexpr std::uint64_t kMultiplier = 0x9E37'79B9'7F4A'7C15;  // odd

/// A polynomial in kMultiplier over the last kNgramTokens tokens, modulo 2^64.
class RollingHash {
 public:
  void push(std::int32_t token) { value_ = value_ * kMultiplier + term(token); }
  void roll(std::int32_t oldest, std::int32_t token) {
    static const std::uint64_t kOldest = [] {
      std::uint64_t power = 1;
      for (std::size_t factor = 0; factor < SharedText::kNgramTokens; ++factor) power *= kMultiplier;
      return power;
    }();
    push(token);
    value_ -= kOldest * term(oldest);
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  static std::uint64_t term(std::int32_t token) { return static_cast<std::uint32_t>(token) + std::uint64_t{1}; }

  std::uint64_t value_ = 0;
};

std::uint64_t hash(std::span<const std::int32_t> ngram) {
  RollingHash hash;
  for (const std::int32_t token : ngram) hash.push(token);
  return hash.value();
}

}  // namespace

void SharedText::add_judge(const Document& document, std::string place) {
  if (document.tokens.size() < kNgramTokens || !digests_.insert(digest(document)).second) return;
  const std::size_t count = document.tokens.size() / kNgramTokens;
  for (std::size_t index = 0; index < count; ++index) {
    const auto ngram = std::span(document.tokens).subspan(index * kNgramTokens, kNgramTokens);
    ngrams_[hash(ngram)].judges.push_back(findings_.size());
  }
  findings_.push_back({.judge = std::move(place), .trained = {}, .shared = 0, .ngrams = count});
}

void SharedText::add_trained(const Document& document, const std::string& place) {
  RollingHash hash;
  for (std::size_t end = 0; end < document.tokens.size(); ++end) {
    if (end < kNgramTokens) {
      hash.push(document.tokens[end]);
    } else {
      hash.roll(document.tokens[end - kNgramTokens], document.tokens[end]);
    }
    if (end + 1 < kNgramTokens) continue;
    const auto ngram = ngrams_.find(hash.value());
    if (ngram == ngrams_.end() || std::exchange(ngram->second.found, true)) continue;
    for (const std::size_t judge : ngram->second.judges) {
      Finding& finding = findings_[judge];
      if (finding.shared++ == 0) finding.trained = place;
    }
  }
}

std::optional<SharedText::Finding> SharedText::worst() const {
  const auto share = [](const Finding& finding) {
    return static_cast<double>(finding.shared) / static_cast<double>(finding.ngrams);
  };
  const auto largest = std::ranges::max_element(findings_, {}, share);
  if (largest == findings_.end() || 2 * largest->shared < largest->ngrams) return std::nullopt;
  return *largest;
}

}  // namespace longrope
