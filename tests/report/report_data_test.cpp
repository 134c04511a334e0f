#include "report/report_data.h"

#include "coordinator/store/store_reader.h"
#include "tests/report/reported_search.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;
using testing::ElementsAre;

class ReportDataTest : public testing::Test {
 protected:
  void SetUp() override {
    sample::write_search(file_);
    std::ofstream(evaluation_) << sample::evaluation_report().dump();
  }
  [[nodiscard]] Json data() const { return report_data({"", {{"", file_}}, {evaluation_}}); }

  static Json plot(const Json& data, const std::string& kind, const std::string& heading = "") {
    for (const Json& plot : data["plots"]) {
      if (plot["kind"] == kind && (heading.empty() || plot["heading"] == heading)) return plot;
    }
    ADD_FAILURE() << "no plot " << kind << ' ' << heading;
    return {};
  }
  /// The column `key` of a plot's table, from the first row on.
  static std::vector<Json> column(const Json& plot, const std::string& key) {
    const Json& columns = plot["table"]["columns"];
    for (std::size_t index = 0; index < columns.size(); ++index) {
      if (columns[index]["key"] != key) continue;
      std::vector<Json> values;
      for (const Json& row : plot["table"]["rows"]) values.push_back(row[index]);
      return values;
    }
    ADD_FAILURE() << "no column " << key;
    return {};
  }

  /// The marked cells of a plot's table, each as "row key".
  static std::vector<std::string> best_of(const Json& plot) {
    std::vector<std::string> cells;
    for (const Json& cell : plot["table"]["best"]) {
      cells.push_back(fmt::format("{} {}", cell[0].get<std::size_t>(),
                                  plot["table"]["columns"][cell[1].get<std::size_t>()]["key"].get<std::string>()));
    }
    return cells;
  }

  std::filesystem::path directory_ = sample::fresh_directory();
  std::filesystem::path file_ = directory_ / "search.db";
  std::filesystem::path evaluation_ = directory_ / "evaluation.json";
};

TEST_F(ReportDataTest, EveryPlotHasATableOfItsNumbers) {
  std::set<std::string> kinds;
  const Json shown = data();
  for (const Json& plot : shown["plots"]) {
    kinds.insert(plot["kind"].get<std::string>());
    const Json& table = plot["table"];
    EXPECT_FALSE(table["rows"].empty()) << plot["heading"];
    for (const Json& row : table["rows"]) EXPECT_EQ(row.size(), table["columns"].size()) << plot["heading"];
  }
  EXPECT_THAT(kinds, ElementsAre("by_length", "by_position", "factors", "history", "retrieval", "table", "timeline"));
}

TEST_F(ReportDataTest, StagesShowTheWinnerBesideTheBaselines) {
  const Json stages = plot(data(), "table", "Stages");
  const BestFactors best = StoreReader(file_).best("128k").value();
  EXPECT_THAT(column(stages, "searched"), ElementsAre(Json(best.heldout_perplexity.value())));
  EXPECT_THAT(column(stages, "pi"), ElementsAre(Json(best.baselines.pi.value())));
  EXPECT_THAT(column(stages, "yarn"), ElementsAre(Json(best.baselines.yarn.value())));
  EXPECT_THAT(column(stages, "ntk"), ElementsAre(Json()));
  EXPECT_THAT(column(stages, "winner"), ElementsAre(Json(1)));
  EXPECT_THAT(column(stages, "told"), ElementsAre(Json(2)));
  EXPECT_THAT(column(stages, "passes"), ElementsAre(Json(5.0)));
  EXPECT_THAT(column(stages, "measured"), ElementsAre(Json("1 held-out documents")));
  EXPECT_EQ(best_of(stages), (std::vector<std::string>{"0 searched"}));
}

TEST_F(ReportDataTest, RunningSearchShowsTheBestSoFarBesideTheSeeds) {
  const std::filesystem::path running = directory_ / "running.db";
  {
    Store store(running, sample::run());
    std::vector<Write> writes;
    const std::vector<std::pair<std::string, double>> told = {
        {"seed:yarn", 1.125}, {"seed:yarn", 1.25}, {"seed:pi", 2.0}, {"mutation", 1.0}};
    for (std::size_t k = 0; k < told.size(); ++k) {
      const auto id = static_cast<std::int64_t>(k) + 1;
      CandidateRecord candidate = sample::candidate(id, id - 1, fmt::format("f{}", id));
      candidate.origin = told[k].first;
      candidate.state = CandidateState::kTold;
      candidate.search_mean_nll = told[k].second;
      writes.emplace_back(candidate);
      writes.emplace_back(sample::scored(id, fmt::format("f{}", id), "d0", 100.0 * told[k].second, 100));
    }
    StageRecord stage = sample::run().stages[0];
    stage.state = StageState::kSearching;
    writes.emplace_back(stage);
    store.apply(writes);
  }
  const Json begun = report_data({"", {{"", running}}, {}});
  const Json stages = plot(begun, "table", "Stages");
  EXPECT_NEAR(column(stages, "searched")[0].get<double>(), std::exp(1.0), 1e-9);
  EXPECT_NEAR(column(stages, "yarn")[0].get<double>(), std::exp(1.125), 1e-9);
  EXPECT_NEAR(column(stages, "pi")[0].get<double>(), std::exp(2.0), 1e-9);
  EXPECT_THAT(column(stages, "measured"), ElementsAre(Json("search documents, so far")));
  EXPECT_EQ(begun["stages"][0]["text"],
            "2.718 at 8,192 tokens on the search documents so far: 11.8 % better than YaRN");
  EXPECT_THAT(begun["stages"][0]["cost"].get<std::string>(),
              testing::StartsWith("4 of at most 4 candidates; 4 passes"));
}

TEST_F(ReportDataTest, AnswerOfAStageComesFirst) {
  const Json shown = data();
  // Held out: e^1.25 beside e^1.75 (YaRN) and e^2.75 (PI).
  EXPECT_EQ(shown["stages"][0]["text"], "3.490 at 8,192 tokens: 39.3 % better than YaRN");
  EXPECT_EQ(shown["stages"][0]["cost"], "5 passes; 2 s");
  EXPECT_EQ(shown["stages"][0]["final"], true);
}

TEST_F(ReportDataTest, HistoryHasTheNumbersOfTheDatabase) {
  const Json history = plot(data(), "history");
  const std::vector<HistoryRow> rows = StoreReader(file_).history("128k");
  ASSERT_EQ(rows.size(), 2U);
  for (std::size_t at = 0; at < rows.size(); ++at) {
    EXPECT_EQ(column(history, "k")[at], rows[at].index);
    EXPECT_EQ(column(history, "perplexity")[at], rows[at].perplexity.value());
    EXPECT_EQ(column(history, "best")[at], rows[at].best_so_far.value());
    EXPECT_EQ(column(history, "heldout")[at], rows[at].heldout_perplexity.value());
  }
  EXPECT_EQ(history["winner"], 1);
  // The sample has no untouched model.
  ASSERT_EQ(history["references"].size(), 1U);
  EXPECT_EQ(history["references"][0]["name"], "YaRN, held out");
  EXPECT_NEAR(history["references"][0]["perplexity"].get<double>(), std::exp(1.75), 1e-9);
  // Means 1.2 of 100 tokens and 1.1 of 300: residuals ±7.5 about 1.125, t of one degree.
  const double half_width = 12.7062 * std::sqrt(2.0 * 2.0 * 7.5 * 7.5) / 400.0;
  EXPECT_NEAR(column(history, "low")[0].get<double>(), std::exp(1.125 - half_width), 1e-4);
  EXPECT_NEAR(column(history, "high")[0].get<double>(), std::exp(1.125 + half_width), 1e-4);
}

TEST_F(ReportDataTest, FactorsOfTheWinnerStandBesideTheBaselines) {
  const Json factors = plot(data(), "factors");
  const StoreReader reader(file_);
  std::vector<std::string> names;
  for (const Json& column : factors["table"]["columns"]) names.push_back(column["name"].get<std::string>());
  EXPECT_THAT(names, ElementsAre("pair", "128k: winner", "128k: YaRN", "128k: PI"));
  const std::vector<double> winner = reader.best("128k")->factors.lambda;
  for (std::size_t pair = 0; pair < winner.size(); ++pair) {
    EXPECT_EQ(column(factors, "line0")[pair], winner[pair]);
    EXPECT_EQ(column(factors, "line1")[pair], sample::candidate(3, 0, "f3").factors.lambda[pair]);
  }
}

TEST_F(ReportDataTest, TimelineHasABarForEachLease) {
  const Json timeline = plot(data(), "timeline");
  EXPECT_THAT(column(timeline, "granted"), ElementsAre(Json(0.0), Json(1.0), Json(2.0)));
  EXPECT_THAT(column(timeline, "ended"), ElementsAre(Json(0.5), Json(1.5), Json(2.5)));
  // A result took 0.1 s; a lost lease has none.
  EXPECT_NEAR(column(timeline, "computing")[0].get<double>(), 0.4, 1e-9);
  EXPECT_TRUE(column(timeline, "computing")[2].is_null());
  EXPECT_THAT(column(timeline, "end"), ElementsAre(Json("scored"), Json("scored"), Json("expired")));
}

TEST_F(ReportDataTest, EvaluationIsShownByLengthPositionAndDepth) {
  const Json shown = data();
  const Json by_length = plot(shown, "by_length");
  EXPECT_EQ(column(by_length, "perplexity")[0], std::exp(1.0));
  // Two documents of one length, 0.1 nats from their mean: t of one degree times the deviation over sqrt(2).
  EXPECT_NEAR(column(by_length, "high")[0].get<double>(), std::exp(1.0 + 12.7062 * 0.1), 1e-3);
  const Json by_position = plot(shown, "by_position");
  EXPECT_EQ(by_position["heading"], "Perplexity by position, 16384 tokens");
  EXPECT_EQ(column(by_position, "from").size(), 8U);
  EXPECT_EQ(column(by_position, "to")[3], 16384);
  EXPECT_NEAR(column(by_position, "perplexity")[7].get<double>(), std::exp(1.5), 1e-9);
  const Json retrieval = plot(shown, "retrieval");
  EXPECT_THAT(column(retrieval, "accuracy"), ElementsAre(Json(0.9)));
  EXPECT_THAT(column(retrieval, "low"), ElementsAre(Json(0.555)));
  EXPECT_EQ(best_of(by_length), (std::vector<std::string>{"0 perplexity", "3 perplexity"}));
}

TEST_F(ReportDataTest, EvaluationOfOneLengthIsATable) {
  nlohmann::json report = sample::evaluation_report();
  report["perplexity"].erase(3);
  report["perplexity"].erase(2);
  std::ofstream(evaluation_) << report.dump();
  const Json table = plot(data(), "table", "Perplexity at 512 tokens");
  EXPECT_THAT(column(table, "series"), ElementsAre(Json("base"), Json("yarn")));
  EXPECT_EQ(best_of(table), (std::vector<std::string>{"0 perplexity"}));
}

TEST_F(ReportDataTest, MethodsOfARetrievalTestShareOneGrid) {
  nlohmann::json report = sample::evaluation_report();
  nlohmann::json other = report["retrieval"][0];
  other["method"] = "base";
  other["right"] = 2;
  other["accuracy"] = 0.2;
  report["retrieval"].push_back(other);
  std::ofstream(evaluation_) << report.dump();
  std::size_t grids = 0;
  const Json shown = data();
  for (const Json& plot : shown["plots"]) grids += plot["kind"] == "retrieval" ? 1U : 0U;
  EXPECT_EQ(grids, 1U);
  const Json grid = plot(shown, "retrieval", "Passkey accuracy");
  EXPECT_THAT(column(grid, "method"), ElementsAre(Json("yarn"), Json("base")));
  EXPECT_EQ(best_of(grid), (std::vector<std::string>{"0 accuracy"}));
}

TEST_F(ReportDataTest, SearchesOfOneNameAreToldApart) {
  const Json both = report_data({"", {{"", file_}, {"", file_}, {"first", file_}}, {}});
  EXPECT_THAT(column(plot(both, "table", "Stages"), "search"),
              ElementsAre(Json("demo"), Json("demo (2)"), Json("first")));
  EXPECT_THAT(column(plot(both, "table", "Searches"), "search"),
              ElementsAre(Json("demo"), Json("demo (2)"), Json("first")));
}

TEST_F(ReportDataTest, SearchWithoutResultsHasItsSummary) {
  const std::filesystem::path fresh = directory_ / "fresh.db";
  {
    const Store store(fresh, sample::run());
  }
  const Json begun = report_data({"", {{"", fresh}}, {}});
  EXPECT_EQ(begun["plots"].size(), 2U);
  EXPECT_THAT(column(plot(begun, "table", "Stages"), "end"), ElementsAre(Json("pending")));
}

}  // namespace
}  // namespace longrope
