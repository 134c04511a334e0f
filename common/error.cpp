#include "common/error.h"

#include <fmt/format.h>

#include <string>

namespace longrope {
namespace {

constexpr std::size_t kHeadBytes = 1500;
constexpr std::size_t kTailBytes = 500;  // holds the place, which comes last

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

std::string shortened(std::string_view text) {
  if (text.size() <= kHeadBytes + kTailBytes) return std::string(text);
  std::size_t head = kHeadBytes;
  while (head > 0 && continues_character(text[head])) --head;  // keep UTF-8 characters whole
  std::size_t tail = text.size() - kTailBytes;
  while (tail < text.size() && continues_character(text[tail])) ++tail;
  return fmt::format("{} … {}", text.substr(0, head), text.substr(tail));
}

}  // namespace

std::string printable_text(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (byte == '\n' || byte == '\r' || byte == '\t') {
      result += ' ';
    } else if (byte < 0x20U || byte == 0x7FU) {
      result += fmt::format("\\u{:04x}", byte);
    } else if (byte == 0xC2U && next >= 0x80U && next < 0xA0U) {  // U+0080 to U+009F: terminals obey these too
      result += fmt::format("\\u{:04x}", next);
      ++i;
    } else {
      result += text[i];
    }
  }
  return result;
}

Error::Error(std::string_view message) : std::runtime_error(printable_text(shortened(message))) {}

}  // namespace longrope
