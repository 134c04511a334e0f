#pragma once

#include <string_view>

namespace longrope {

/// The content of a file that is compiled into the report (cmake/EmbedFiles.cmake): "page.html", "page.css",
/// "tables.js", "charts.js", "page.js", "chart.js", "chart_js_licence.txt", and the published factors of
/// configs/published. Throws std::out_of_range for another name. Thread-safe.
[[nodiscard]] std::string_view page_part(std::string_view name);

}  // namespace longrope
