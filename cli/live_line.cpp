#include "cli/live_line.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <ctime>
#include <iostream>
#include <utility>

namespace longrope {
namespace {

constexpr std::size_t kUnknownWidth = 80;  // of a terminal that does not say
constexpr std::string_view kEraseLine = "\r\033[K";

std::optional<std::size_t> terminal_columns(int descriptor) {
  if (isatty(descriptor) != 1) return std::nullopt;
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUnknownWidth;
  return size.ws_col;
}

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

std::size_t width(char byte) {
  if (continues_character(byte)) return 0;
  return static_cast<unsigned char>(byte) < 0x80U ? 1 : 2;
}

std::size_t width(std::string_view text) {
  std::size_t columns = 0;
  for (const char byte : text) columns += width(byte);
  return columns;
}

std::string_view cut(std::string_view text, std::size_t columns) {
  std::size_t used = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    used += width(text[i]);
    if (used > columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

std::string fitted_line(const LineParts& parts, std::size_t columns) {
  std::string line;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (line.empty()) {
      line = cut(part, columns);
    } else if (const std::string longer = fmt::format("{}, {}", line, part); width(longer) <= columns) {
      line = longer;
    } else {
      break;  // what follows is less important, and would look as if nothing stood before it
    }
  }
  return line;
}

std::string time_stamp(std::int64_t unix_milliseconds) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}", fmt::localtime(static_cast<std::time_t>(unix_milliseconds / 1000)));
}

LiveLine::LiveLine(int descriptor)
    : LiveLine(descriptor == STDOUT_FILENO ? std::cout : std::cerr,
               [descriptor] { return terminal_columns(descriptor); }) {}

LiveLine::LiveLine(std::ostream& out, std::function<std::optional<std::size_t>()> columns)
    : out_(out), columns_(std::move(columns)) {}

std::chrono::milliseconds LiveLine::interval() const { return on_terminal() ? kTerminalInterval : kPlainInterval; }

void LiveLine::show(const LineParts& parts, bool at_once, const Now& now) {
  const std::optional<std::size_t> columns = columns_();
  if (!at_once && shown_ && now.steady - *shown_ < (columns ? kTerminalInterval : kPlainInterval)) return;
  shown_ = now.steady;
  if (!columns) {
    out_ << time_stamp(now.unix_milliseconds) << ' ' << fitted_line(parts, std::string::npos) << std::endl;
    return;
  }
  erase(*columns);
  // A character in the last column makes some terminals wrap.
  const std::string line = fitted_line(parts, *columns - 1);
  out_ << line << std::flush;
  drawn_ = width(line);
}

void LiveLine::finish() {
  if (drawn_ > 0) out_ << std::endl;
  drawn_ = 0;
}

void LiveLine::clear() {
  if (drawn_ == 0) return;
  erase(columns_().value_or(kUnknownWidth));
  out_ << std::flush;
}

/// Removes the line from the screen. A terminal that has become narrower has broken it into several rows: all go.
void LiveLine::erase(std::size_t columns) {
  out_ << kEraseLine;
  for (std::size_t rest = drawn_; rest > columns; rest -= columns) out_ << "\033[A" << kEraseLine;
  drawn_ = 0;
}

}  // namespace longrope
