#include "report/html_report.h"

#include "common/error.h"
#include "report/page_part.h"
#include "report/report_data.h"
#include "tests/report/reported_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kHostile = "</script><script>alert(1)</script><!--<script> & \"'\xE2\x80\xA8 {{title}}";

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t number = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++number;
  return number;
}

/// What stands in the element that the page's scripts read.
std::string script_data(const std::string& page) {
  const std::string begin = R"(<script type="application/json" id="report-data">)";
  const std::size_t from = page.find(begin) + begin.size();
  return page.substr(from, page.find("</script>", from) - from);
}

class HtmlReportTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path search(const std::string& name, const sample::Names& names = {},
                                             std::int64_t delay_milliseconds = 0) const {
    const std::filesystem::path file = directory_ / name;
    sample::write_search(file, names, delay_milliseconds);
    return file;
  }
  [[nodiscard]] std::filesystem::path evaluation(const std::string& method = "yarn") const {
    const std::filesystem::path file = directory_ / "evaluation.json";
    std::ofstream(file) << sample::evaluation_report(method).dump();
    return file;
  }

  std::filesystem::path directory_ = sample::fresh_directory();
};

TEST_F(HtmlReportTest, HostileNamesStayText) {
  const ReportSources plain = {"title", {{"", search("plain.db")}}, {evaluation()}};
  const std::string plain_page = html_report(plain);
  const std::filesystem::path file = search("hostile.db", {.document = kHostile, .worker = kHostile, .run = kHostile});
  const ReportSources hostile = {kHostile, {{"", file}}, {evaluation(kHostile)}};
  const std::string page = html_report(hostile);
  EXPECT_THAT(page, Not(HasSubstr("alert(1)</script>")));
  for (const std::string mark : {"<script", "</script", "<!--", "-->", "</title"}) {
    EXPECT_EQ(count(page, mark), count(plain_page, mark)) << mark;
  }
  // The names arrive unchanged where they are text: in the data, and as the heading.
  const nlohmann::ordered_json data = nlohmann::ordered_json::parse(script_data(page));
  EXPECT_EQ(data, report_data(hostile));
  EXPECT_EQ(data["title"], kHostile);
  EXPECT_EQ(data["plots"][1]["table"]["rows"][0][0], kHostile);
  EXPECT_THAT(page, HasSubstr("<h1>&lt;/script&gt;&lt;script&gt;alert(1)"));
}

TEST_F(HtmlReportTest, NamesThatAreNoUtf8DoNotStopTheReport) {
  const std::string page =
      html_report({"", {{"", search("search.db", {.document = "\xFF\xFE", .worker = "\xC3"})}}, {}});
  EXPECT_TRUE(nlohmann::json::accept(script_data(page)));
}

TEST_F(HtmlReportTest, NothingIsFetchedFromElsewhere) {
  std::string page = html_report({"", {{"", search("search.db")}}, {evaluation()}});
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  // Chart.js names its home in its licence's comment; it is the only part that is not ours.
  const std::string chart_js(page_part("chart.js"));
  const std::size_t library = page.find(chart_js);
  ASSERT_NE(library, std::string::npos);
  page.erase(library, chart_js.size());
  for (const std::string way :
       {"src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "import(", "WebSocket", "sendBeacon"}) {
    EXPECT_THAT(page, Not(HasSubstr(way)));
  }
  // An identifier of SVG, not an address that anything opens.
  const std::string svg = "http://www.w3.org/2000/svg";
  for (std::size_t at = page.find(svg); at != std::string::npos; at = page.find(svg)) page.erase(at, svg.size());
  EXPECT_THAT(page, Not(HasSubstr("http://")));
  EXPECT_THAT(page, Not(HasSubstr("https://")));
}

TEST_F(HtmlReportTest, ScriptsAndDataEndOnlyWhereTheyShould) {
  for (const std::string_view part : {"chart.js", "tables.js", "axes.js", "charts.js", "zoom.js", "page.js"}) {
    EXPECT_THAT(std::string(page_part(part)), Not(HasSubstr("</script"))) << part;
    EXPECT_THAT(std::string(page_part(part)), Not(HasSubstr("<!--"))) << part;
  }
}

TEST_F(HtmlReportTest, LicenceOfChartJsIsInThePage) {
  const std::string page = html_report({"", {{"", search("search.db")}}, {}});
  EXPECT_THAT(page, HasSubstr("Chart.js Contributors"));
  EXPECT_THAT(page, HasSubstr("The above copyright notice and this permission notice shall be included in all copies"));
}

TEST_F(HtmlReportTest, EqualSearchesGiveEqualBytesButForTimesAndWorkers) {
  const auto without_workers = [](const std::filesystem::path& file) {
    nlohmann::ordered_json data = report_data({"", {{"", file}}, {}});
    for (auto& stage : data["stages"]) stage.erase("cost");
    auto& plots = data["plots"];
    for (std::size_t at = plots.size(); at-- > 0;) {
      if (plots[at]["section"] == "Workers") plots.erase(at);
    }
    return data.dump();
  };
  const std::filesystem::path early = search("early.db");
  const std::filesystem::path late = search("late.db", {}, 70'000);
  EXPECT_EQ(without_workers(early), without_workers(late));
  EXPECT_EQ(html_report({"", {{"", early}}, {}}), html_report({"", {{"", early}}, {}}));
  EXPECT_NE(html_report({"", {{"", early}}, {}}), html_report({"", {{"", late}}, {}}));
}

TEST_F(HtmlReportTest, WhatIsNoSearchOrNoEvaluationIsRefused) {
  const std::filesystem::path file = search("search.db");
  EXPECT_THROW((void)html_report({"", {{"", directory_ / "missing.db"}}, {}}), InputError);
  EXPECT_THROW((void)html_report({"", {{"", file}}, {directory_ / "missing.json"}}), InputError);
  EXPECT_THROW((void)html_report({"", {{"", file}}, {file}}), InputError);
}

}  // namespace
}  // namespace longrope
