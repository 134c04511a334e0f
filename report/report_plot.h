#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// The data of the page. A plot is a view of its table: every number that is drawn stands in the table, once.

/// A column of a table. `key` is its name in the page's scripts, `name` what the page shows, `format` how its values
/// are written: "text", "integer", "perplexity", "number", "share" (0 to 1, as per cent), "seconds".
struct TableColumn {
  std::string key;
  std::string name;
  std::string format;
};

/// {"columns": [{"key", "name", "format"}], "rows": [[…]]}. A missing value is null. Some tables have "best", the cells
/// that the page marks (best_marks.h).
[[nodiscard]] nlohmann::ordered_json report_table(const std::vector<TableColumn>& columns);

/// What a plot is called. `kind` decides how it is drawn (charts.js), plots of one `section` stand together, `text`
/// says what is to be seen and how it was computed.
struct PlotText {
  std::string kind;
  std::string section;
  std::string heading;
  std::string text;
};
/// {"kind", "section", "heading", "text", "table"}; the first plot of a section may have "about", what is true of all.
[[nodiscard]] nlohmann::ordered_json report_plot(const PlotText& text, nlohmann::ordered_json table);

/// The value of an optional, or null.
template <typename Optional>
[[nodiscard]] nlohmann::ordered_json or_null(const Optional& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

}  // namespace longrope
