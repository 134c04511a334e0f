#include "coordinator/store/row_reader.h"

namespace longrope {

bool RowReader::next() {
  column_ = 0;
  return statement_.executeStep();
}

std::optional<std::int64_t> RowReader::optional_integer() {
  const SQLite::Column value = column();
  return value.isNull() ? std::nullopt : std::optional(value.getInt64());
}

std::optional<double> RowReader::optional_real() {
  const SQLite::Column value = column();
  return value.isNull() ? std::nullopt : std::optional(value.getDouble());
}

std::string RowReader::text() { return optional_text().value_or(""); }

std::optional<std::string> RowReader::optional_text() {
  const SQLite::Column value = column();
  return value.isNull() ? std::nullopt : std::optional(value.getString());
}

}  // namespace longrope
