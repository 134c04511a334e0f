#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "coordinator/core/scheduler.h"

namespace longrope {

/// Live progress on standard output: one line rewritten on a terminal, a plain line now and then otherwise.
class ProgressDisplay {
 public:
  ProgressDisplay();

  void show(const Progress& progress);
  /// A line of its own, on standard error.
  void say(const std::string& text);
  void finish();  // ends the rewritten line

 private:
  [[nodiscard]] std::string line(const Progress& progress) const;

  bool terminal_;
  std::chrono::steady_clock::time_point begun_;
  std::chrono::steady_clock::time_point shown_{};
  std::string last_;
  bool line_open_ = false;
};

}  // namespace longrope
