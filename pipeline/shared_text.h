#pragma once

#include "common/documents/documents.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace longrope {

/// Finds text that judges (is held out or evaluated) and is trained on too, however each was cut into documents and
/// whatever tokens begin and end them: a judging document is cut into n-grams of kNgramTokens tokens that do not
/// overlap, and each is looked for at every position of what is trained on. Documents shorter than one n-gram are not
/// compared. Memory: some hundred bytes for each n-gram. Not thread-safe.
class SharedText {
 public:
  static constexpr std::size_t kNgramTokens = 50;  // as where language models' training data is deduplicated

  /// Takes a document that judges; one that it has already is not taken again. All come before what is trained on.
  /// `place` names it in findings.
  void add_judge(const Document& document, std::string place);
  void add_trained(const Document& document, const std::string& place);

  struct Finding {
    std::string judge;
    std::string trained;  // where the first shared n-gram was found
    std::size_t shared = 0;
    std::size_t ngrams = 0;
  };
  /// The document of which the largest share is trained on, if it is at least half of any: less may be quotations,
  /// licences and headings.
  [[nodiscard]] std::optional<Finding> worst() const;

 private:
  struct Ngram {
    std::vector<std::size_t> judges;  // indices of findings_; one that repeats it is there as often
    bool found = false;
  };

  std::unordered_map<std::uint64_t, Ngram> ngrams_;  // by hash
  std::unordered_set<std::string> digests_;
  std::vector<Finding> findings_;
};

}  // namespace longrope
