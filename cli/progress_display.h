#pragma once

#include "coordinator/coordinator.h"

#include <chrono>
#include <cstdint>
#include <string>

namespace longrope {

/// Live progress on standard output: on a terminal one line that is rewritten, otherwise a plain line every ten
/// seconds.
class ProgressDisplay {
 public:
  ProgressDisplay();

  void show(const SearchProgress& progress);
  /// Prints `text` on a line of its own, on standard error.
  void say(const std::string& text);
  void finish();  // ends the rewritten line

  /// Callbacks for a coordinator that show here what it reports. This display must outlive the coordinator.
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
