#include "common/files/csv_field.h"

namespace longrope {

std::string csv_field(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

}  // namespace longrope
