#include "worker/model/phase_clock.h"

#include <utility>

namespace longrope {

PhaseClock::PhaseClock(std::function<double()> now) : now_(std::move(now)) {
  if (now_) last_ = now_();
}

void PhaseClock::lap(Phase phase, double operations) {
  if (!now_) return;
  const double now = now_();
  PhaseTotal& total = totals_[static_cast<std::size_t>(phase)];
  total.seconds += now - last_;
  total.operations += operations;
  last_ = now;
}

}  // namespace longrope
