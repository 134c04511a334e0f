#pragma once

#include "coordinator/store/column_text.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <optional>
#include <string>

namespace longrope {

/// Reads the rows of one query, and the columns of a row from left to right: the counterpart of RecordWriter.
/// Throws SQLite::Exception, and Error for a word that no release has written. Not thread-safe.
class RowReader {
 public:
  RowReader(const SQLite::Database& database, const char* sql) : statement_(database, sql) {}

  /// Sets the first `?` of the query; before the first next().
  void bind(const std::string& value) { statement_.bind(1, value); }
  [[nodiscard]] bool next();

  // The value of the next column. Where it is not optional, NULL reads as 0 or "": a time that has not come, no text.
  [[nodiscard]] std::int64_t integer() { return column().getInt64(); }
  [[nodiscard]] std::optional<std::int64_t> optional_integer();
  [[nodiscard]] double real() { return column().getDouble(); }
  [[nodiscard]] std::optional<double> optional_real();
  [[nodiscard]] std::string text();
  [[nodiscard]] std::optional<std::string> optional_text();
  template <typename Enum>
  [[nodiscard]] Enum word() {
    return from_column_text<Enum>(text());
  }
  template <typename Enum>
  [[nodiscard]] std::optional<Enum> optional_word() {
    const std::optional<std::string> value = optional_text();
    return value ? std::optional(from_column_text<Enum>(*value)) : std::nullopt;
  }

 private:
  [[nodiscard]] SQLite::Column column() { return statement_.getColumn(column_++); }

  SQLite::Statement statement_;
  int column_ = 0;
};

}  // namespace longrope
