#include "report/report_plot.h"

#include <utility>

namespace longrope {

nlohmann::ordered_json report_table(const std::vector<TableColumn>& columns) {
  nlohmann::ordered_json table = {{"columns", nlohmann::ordered_json::array()},
                                  {"rows", nlohmann::ordered_json::array()}};
  for (const TableColumn& column : columns) {
    table["columns"].push_back({{"key", column.key}, {"name", column.name}, {"format", column.format}});
  }
  return table;
}

nlohmann::ordered_json report_plot(const PlotText& text, nlohmann::ordered_json table) {
  nlohmann::ordered_json plot = {
      {"kind", text.kind}, {"section", text.section}, {"heading", text.heading}, {"text", text.text}};
  plot["table"] = std::move(table);
  return plot;
}

}  // namespace longrope
