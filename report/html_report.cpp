#include "report/html_report.h"

#include "common/software_version.h"
#include "report/page_part.h"
#include "report/report_data.h"

#include <fmt/format.h>

#include <map>
#include <string_view>

namespace longrope {
namespace {

std::string replaced(std::string_view text, const std::map<char, std::string_view>& replacements) {
  std::string result;
  result.reserve(text.size());
  for (const char character : text) {
    const auto found = replacements.find(character);
    if (found == replacements.end()) {
      result += character;
    } else {
      result += found->second;
    }
  }
  return result;
}

std::string as_html_text(std::string_view text) {
  return replaced(text, {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}});
}

/// JSON that may stand in a <script> element: these three occur in strings only, and without them nothing in a name can
/// end the element or begin a comment. Names may also be no UTF-8 at all.
std::string as_script_data(const nlohmann::ordered_json& data) {
  const std::string text = data.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::ordered_json::error_handler_t::replace);
  return replaced(text, {{'<', "\\u003c"}, {'>', "\\u003e"}, {'&', "\\u0026"}});
}

/// Replaces every {{NAME}} of the template; what is put in is not looked at again, so that no name is taken for one.
std::string filled(std::string_view page, const std::map<std::string_view, std::string>& parts) {
  std::string result;
  std::size_t position = 0;
  while (true) {
    const std::size_t begin = page.find("{{", position);
    if (begin == std::string_view::npos) break;
    const std::size_t end = page.find("}}", begin);
    result += page.substr(position, begin - position);
    result += parts.at(page.substr(begin + 2, end - begin - 2));
    position = end + 2;
  }
  return result.append(page.substr(position));
}

}  // namespace

std::string html_report(const ReportSources& sources) {
  const nlohmann::ordered_json data = report_data(sources);
  return filled(page_part("page.html"),
                {{"title", as_html_text(data["title"].get<std::string>())},
                 {"style", std::string(page_part("page.css"))},
                 {"data", as_script_data(data)},
                 {"licence", std::string(page_part("chart_js_licence.txt"))},
                 {"chart_js", std::string(page_part("chart.js"))},
                 {"script", fmt::format("{}\n{}\n{}\n{}\n{}", page_part("tables.js"), page_part("axes.js"),
                                        page_part("charts.js"), page_part("zoom.js"), page_part("page.js"))},
                 {"version", as_html_text(kSoftwareVersion)}});
}

}  // namespace longrope
