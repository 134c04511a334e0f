#pragma once

#include "coordinator/coordinator.h"

#include <chrono>
#include <cstdint>
#include <string>

namespace longrope {

/// Live progress on standard output: one line rewritten on a terminal, a plain line now and then otherwise.
class ProgressDisplay {
 public:
  ProgressDisplay();

  void show(const SearchProgress& progress);
  /// A line of its own, on standard error.
  void say(const std::string& text);
  void finish();  // ends the rewritten line

  /// What a coordinator reports, shown here; this must outlive it.
  [[nodiscard]] Coordinator::Reports reports();

 private:
  [[nodiscard]] std::string line(const SearchProgress& progress) const;

  bool terminal_;
  std::chrono::steady_clock::time_point begun_;
  std::chrono::steady_clock::time_point shown_{};
  std::string last_;
  bool line_open_ = false;
};

}  // namespace longrope
