#pragma once

#include "evaluation/mean_nll.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// One method on the documents that judge, in their order.
struct JudgedScores {
  std::string origin;                  // "winner", "none" (untouched), "pi", "ntk", "yarn", "yarn-m1", …
  std::vector<DocumentNll> documents;  // at least one
};

/// What a verdict is made from.
struct WinnerScores {
  std::string stage;
  std::int64_t target_length = 0;                // tokens
  double attention_factor = 1.0;                 // m of the winner
  bool final_documents = false;                  // false: held-out documents, which also chose among the finalists
  std::int64_t finalists = 0;                    // candidates that held-out documents chose among
  std::vector<JudgedScores> scores;              // the winner first; empty: it could not be scored
  std::int64_t original_length = 0;              // tokens; 0: nothing was scored there
  std::vector<JudgedScores> at_original_length;  // "winner", "none"
  bool keeps_attention_factor = false;           // m is the checkpoint's own: nothing changes at the original length
};

enum class Judgement { kBetter, kWorse, kCannotTell };
[[nodiscard]] std::string_view to_string(Judgement judgement);  // "better", "worse", "cannot tell"

/// The winner against one method on the same documents.
struct Comparison {
  std::string origin;       // of the method
  double perplexity = 0.0;  // of the method
  MeanNll difference;  // of the winner's mean NLL to the method's, paired by document: below 0, the winner is better
  Judgement judgement = Judgement::kCannotTell;  // kCannotTell: the interval contains 0. One document has no interval:
                                                 // then the sign of the difference judges

  /// Change of perplexity: −0.033 is 3.3 % below the method's.
  [[nodiscard]] double relative_change() const;
};

/// Whether a search was worth it: its winner against the untouched model and the closed forms.
struct Verdict {
  std::string stage;
  std::int64_t target_length = 0;
  double attention_factor = 1.0;
  bool final_documents = false;
  std::int64_t finalists = 0;
  std::int64_t documents = 0;                    // that judge
  std::optional<double> perplexity;              // of the winner, on them; nullopt: it could not be scored
  std::vector<Comparison> comparisons;           // in the order of the scores, untouched included
  std::int64_t original_length = 0;              // 0: nothing was scored there
  std::optional<Comparison> at_original_length;  // what the factors cost there: the winner against untouched
  bool keeps_attention_factor = false;           // nothing: their m is the checkpoint's own

  // nullptr: not scored. Pointers into this.
  [[nodiscard]] const Comparison* untouched() const;
  /// The closed form with the lowest perplexity.
  [[nodiscard]] const Comparison* best_closed_form() const;

  /// Against untouched; kCannotTell where that was not scored, kWorse where the winner could not be.
  [[nodiscard]] Judgement judgement() const;
};

/// Throws Error when scores are not of a winner, or methods were not scored on the same tokens.
[[nodiscard]] Verdict judge(const WinnerScores& scores);

/// "untouched", "PI", "NTK", "YaRN"; "YaRN with m = 1" for "yarn-m1"; another origin is its own name.
[[nodiscard]] std::string method_title(const std::string& origin);

}  // namespace longrope
