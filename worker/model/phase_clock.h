#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace longrope {

/// The parts of the work to which the time of a document is attributed; --timings prints their names
/// (schemas/score_report.md).
enum class Phase : std::uint8_t {
  kWeights,      // reading and packing layers
  kRows,         // embedding, norms, rotation, keys and values into their cache, gate: memory more than arithmetic
  kProjections,  // products with the weights of attention
  kAttention,
  kFeedForward,  // products with the weights of the feed-forward part
  kOutput,       // final norm, lm_head, log-sum-exp
};
inline constexpr std::array<std::string_view, 6> kPhaseNames = {"weights",   "rows",         "projections",
                                                                "attention", "feed_forward", "output"};

struct PhaseTotal {
  double seconds = 0.0;
  double operations = 0.0;  // FLOPs of products and attention
};
using PhaseTotals = std::array<PhaseTotal, kPhaseNames.size()>;  // by Phase

/// Attributes time to phases by laps. Not thread-safe: laps are taken between parallel parts, not inside.
class PhaseClock {
 public:
  /// `now` waits until the device has finished its work and gives seconds; empty: no laps are taken.
  explicit PhaseClock(std::function<double()> now);

  /// Attributes the time since the lap before, or since construction, and `operations` FLOPs to `phase`.
  void lap(Phase phase, double operations = 0.0);
  [[nodiscard]] const PhaseTotals& totals() const { return totals_; }

 private:
  std::function<double()> now_;
  double last_ = 0.0;
  PhaseTotals totals_{};
};

}  // namespace longrope
