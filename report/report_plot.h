#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// The data of the page. A plot is a view of its table: every number that is drawn stands in the table, once.

/// A column of a table. `key` is what the page's scripts know it by, `format` how its numbers are written: "text",
/// "integer", "perplexity", "number", "share" (of 1, as per cent), "seconds".
struct TableColumn {
  std::string key;
  std::string name;
  std::string format;
};

/// {"columns": [{"key", "name", "format"}], "rows": [[…]]}. A missing value is null.
[[nodiscard]] nlohmann::ordered_json report_table(const std::vector<TableColumn>& columns);

/// {"kind", "section", "heading", "text", "table"}. `kind` decides how it is drawn (charts.js), plots of one `section`
/// stand together, `text` says what is to be seen and how it was computed.
struct PlotText {
  std::string kind;
  std::string section;
  std::string heading;
  std::string text;
};
[[nodiscard]] nlohmann::ordered_json report_plot(const PlotText& text, nlohmann::ordered_json table);

template <typename Optional>
[[nodiscard]] nlohmann::ordered_json or_null(const Optional& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

}  // namespace longrope
