#pragma once

#include "common/clock.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// What a line of progress says, the most important part first.
using LineParts = std::vector<std::string>;

/// The parts joined by ", ", as many of the first as `columns` columns of a terminal hold; the first is cut where it
/// alone is too long. A character beyond ASCII counts two columns, so that no terminal shows more.
[[nodiscard]] std::string fitted_line(const LineParts& parts, std::size_t columns);
/// "2026-11-30T14:05:09", local time: what stands before a line in a log.
[[nodiscard]] std::string time_stamp(std::int64_t unix_milliseconds);

/// The one renderer of live progress, of searches, scoring, evaluation and training: on a terminal one line that is
/// rewritten in place and never wraps, because it is fitted to the width that the terminal has at that moment;
/// elsewhere plain lines with time stamps, as logs want them. Written by hand because Debian 12 packages no library for
/// it (indicators) and what it does packages (Boost's progress_display) does not know the terminal's width. Not
/// thread-safe.
class LiveLine {
 public:
  static constexpr std::chrono::milliseconds kTerminalInterval{250};
  static constexpr std::chrono::milliseconds kPlainInterval{10'000};

  /// On standard output (1) or standard error (2), which is asked whether it is a terminal.
  explicit LiveLine(int descriptor);
  /// For tests: `columns` gives the terminal's width, nullopt where `out` is none. `out` outlives this.
  LiveLine(std::ostream& out, std::function<std::optional<std::size_t>()> columns);

  /// How often show() writes.
  [[nodiscard]] std::chrono::milliseconds interval() const;
  [[nodiscard]] bool on_terminal() const { return columns_().has_value(); }

  /// Shows the parts if it is time for that, or `at_once`.
  void show(const LineParts& parts, bool at_once = false, const Now& now = read_clocks());
  /// Leaves the line as it is; what is printed next stands below it.
  void finish();
  /// Removes the line; what is printed next stands in its place.
  void clear();

 private:
  void erase(std::size_t columns);

  std::ostream& out_;
  std::function<std::optional<std::size_t>()> columns_;
  std::optional<std::chrono::milliseconds> shown_;  // when show() wrote
  std::size_t drawn_ = 0;                           // columns of the line that stands there; 0: none
};

}  // namespace longrope
