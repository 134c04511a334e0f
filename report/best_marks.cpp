#include "report/best_marks.h"

#include <algorithm>
#include <map>
#include <stdexcept>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

struct Number {
  std::size_t row = 0;
  std::size_t column = 0;
  double value = 0.0;
};

std::size_t column_of(const Json& table, const std::string& key) {
  const Json& columns = table.at("columns");
  for (std::size_t at = 0; at < columns.size(); ++at) {
    if (columns[at].at("key") == key) return at;
  }
  throw std::out_of_range("the table has no column " + key);
}

void mark(Json& table, const std::vector<Number>& compared, BetterIs better) {
  if (compared.empty()) return;
  const auto [low, high] = std::ranges::minmax(compared, {}, &Number::value);
  if (low.value == high.value) return;
  const double best = better == BetterIs::kLower ? low.value : high.value;
  for (const Number& number : compared) {
    if (number.value == best) table["best"].push_back({number.row, number.column});
  }
}

}  // namespace

void mark_lowest_in_rows(Json& table, const std::vector<std::string>& keys) {
  std::vector<std::size_t> columns;
  for (const std::string& key : keys) columns.push_back(column_of(table, key));
  table["best"] = Json::array();
  for (std::size_t row = 0; row < table["rows"].size(); ++row) {
    std::vector<Number> compared;
    for (const std::size_t column : columns) {
      const Json& value = table["rows"][row][column];
      if (value.is_number()) compared.push_back({row, column, value.get<double>()});
    }
    mark(table, compared, BetterIs::kLower);
  }
}

void mark_best_in_groups(Json& table, const std::string& key, const std::vector<std::string>& group, BetterIs better) {
  const std::size_t column = column_of(table, key);
  std::vector<std::size_t> group_columns;
  for (const std::string& name : group) group_columns.push_back(column_of(table, name));
  std::map<std::string, std::vector<Number>> groups;
  for (std::size_t row = 0; row < table["rows"].size(); ++row) {
    Json names = Json::array();
    for (const std::size_t at : group_columns) names.push_back(table["rows"][row][at]);
    const Json& value = table["rows"][row][column];
    if (value.is_number()) groups[names.dump()].push_back({row, column, value.get<double>()});
  }
  table["best"] = Json::array();
  for (const auto& [names, compared] : groups) mark(table, compared, better);
  std::sort(table["best"].begin(), table["best"].end());
}

}  // namespace longrope
