#include "report/search_plots.h"

#include "evaluation/verdict.h"
#include "report/best_marks.h"
#include "report/nll_interval.h"
#include "report/published_factors.h"
#include "report/report_plot.h"
#include "report/stage_answers.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMillisecondsPerSecond = 1000.0;

/// NLL of each search document, by candidate.
std::map<std::int64_t, std::vector<DocumentNll>> documents_by_candidate(const StoreReader& reader,
                                                                        const std::string& stage) {
  std::map<std::int64_t, std::vector<DocumentNll>> documents;
  for (const DocumentResult& result : reader.document_results(stage)) {
    documents[result.index].push_back({result.nll_sum, result.scored_tokens});
  }
  return documents;
}

/// What a history is seen against: held-out perplexities of the untouched model and of YaRN, as the summary has them.
Json references(const StoreReader& reader, const std::string& stage) {
  const std::optional<BestFactors> best = reader.best(stage);
  Json lines = Json::array();
  if (!best || !best->final) return lines;
  const BaselinePerplexities& baselines = best->baselines;
  if (baselines.none) {
    lines.push_back({{"method", "none"}, {"name", "untouched, held out"}, {"perplexity", *baselines.none}});
  }
  // Where the model already reaches the length, YaRN is the untouched model.
  if (baselines.yarn && baselines.yarn != baselines.none) {
    lines.push_back({{"method", "yarn"}, {"name", "YaRN, held out"}, {"perplexity", *baselines.yarn}});
  }
  return lines;
}

/// A pipeline's stage is a search with a stage of the same name.
std::string stage_label(const std::string& search, const std::string& stage) {
  return search == stage ? "stage " + stage : fmt::format("{}, stage {}", search, stage);
}

Json history_plot(const NamedSearch& search, const StageProgress& stage) {
  const std::map<std::int64_t, std::vector<DocumentNll>> documents = documents_by_candidate(*search.reader, stage.name);
  Json table = report_table({{"k", "candidate", "integer"},
                             {"origin", "origin", "text"},
                             {"perplexity", "perplexity", "perplexity"},
                             {"low", "95 % from", "perplexity"},
                             {"high", "95 % to", "perplexity"},
                             {"best", "best so far", "perplexity"},
                             {"heldout", "held-out perplexity", "perplexity"}});
  std::size_t most_documents = 0;
  for (const HistoryRow& row : search.reader->history(stage.name)) {
    std::optional<PerplexityInterval> interval;
    const auto found = documents.find(row.index);
    if (row.perplexity && found != documents.end()) {
      interval = perplexity_interval(found->second);
      most_documents = std::max(most_documents, found->second.size());
    }
    table["rows"].push_back({row.index, row.origin, or_null(row.perplexity), interval ? Json(interval->low) : Json(),
                             interval ? Json(interval->high) : Json(), or_null(row.best_so_far),
                             or_null(row.heldout_perplexity)});
  }
  const std::string documents_text =
      most_documents < 2 ? "one search document, so no intervals" : fmt::format("{} search documents", most_documents);
  Json plot =
      report_plot({"history", "Search history", stage_label(search.name, stage.name),
                   fmt::format("Perplexity at {} tokens, by candidate; {}.", stage.target_length, documents_text)},
                  std::move(table));
  plot["about"] =
      "Every candidate in the order of the search. Bars: 95 % interval of the mean NLL over documents like those of "
      "the search (Student's t); candidates are compared on the same documents, which is sharper. Finalists are "
      "measured "
      "again on held-out documents, and the best of them there wins; the broken lines are the untouched model and YaRN "
      "on those.";
  plot["winner"] = or_null(stage.winner_index);
  plot["references"] = references(*search.reader, stage.name);
  return plot;
}

/// One line of a plot of λ.
struct FactorSeries {
  std::string name;
  std::string method;  // "searched", or a baseline's origin
  std::size_t stage = 0;
  std::int64_t length = 0;  // tokens, of the stage
  std::vector<double> lambda;
};

/// The untouched model is a line at 1, unless the checkpoint carries scaling, and where the model already reaches the
/// length so are the closed forms.
bool is_flat_one(const std::vector<double>& lambda) {
  return std::ranges::all_of(lambda, [](double factor) { return factor == 1.0; });
}

std::vector<FactorSeries> factor_series(const std::vector<NamedSearch>& searches) {
  std::vector<FactorSeries> lines;
  std::size_t number = 0;
  for (const NamedSearch& search : searches) {
    for (const StageProgress& stage : search.reader->progress()) {
      const std::optional<BestFactors> best = search.reader->best(stage.name);
      if (!best) continue;
      const bool named = searches.size() > 1 && search.name != stage.name;
      const std::string label = named ? search.name + ", " + stage.name : stage.name;
      const auto add = [&](const std::string& name, const std::string& method, std::vector<double> lambda) {
        lines.push_back({name, method, number, stage.target_length, std::move(lambda)});
      };
      add(label + (best->final ? ": winner" : ": best so far"), "searched", best->factors.lambda);
      std::vector<PublishedFactors> published;
      for (BaselineFactors& baseline : search.reader->baseline_factors(stage.name)) {
        if (baseline.origin == "yarn") published = published_factors(stage.target_length, baseline.lambda);
        if (is_flat_one(baseline.lambda)) continue;
        add(label + ": " + method_title(baseline.origin), baseline.origin, std::move(baseline.lambda));
      }
      for (PublishedFactors& factors : published) {
        add("published: " + factors.name, "published", std::move(factors.lambda));
      }
      ++number;
    }
  }
  return lines;
}

std::string candidate_name(const LeaseSpan& span) {
  return span.role == "search" ? fmt::format("{} ({})", span.index, span.origin) : method_title(span.origin);
}

Json timeline_plot(const NamedSearch& search, const std::vector<LeaseSpan>& spans) {
  std::int64_t first = 0;
  std::int64_t last = 0;
  for (const LeaseSpan& span : spans) {
    if (span.granted_at > 0 && (first == 0 || span.granted_at < first)) first = span.granted_at;
    last = std::max({last, span.granted_at, span.ended_at});
  }
  Json table = report_table({{"worker", "worker", "text"},
                             {"stage", "stage", "text"},
                             {"candidate", "candidate", "text"},
                             {"document", "document", "text"},
                             {"granted", "handed out", "seconds"},
                             {"computing", "computing from", "seconds"},
                             {"ended", "ended", "seconds"},
                             {"end", "how", "text"}});
  const auto since_first = [first](std::int64_t time) {
    return static_cast<double>(time - first) / kMillisecondsPerSecond;
  };
  for (const LeaseSpan& span : spans) {
    if (span.granted_at == 0) continue;
    const double granted = since_first(span.granted_at);
    const double ended = std::max(granted, since_first(span.ended_at > 0 ? span.ended_at : last));
    // A worker holds documents that it has not begun; the end is when the result was stored.
    const Json computing = span.seconds ? Json(std::max(granted, ended - *span.seconds)) : Json();
    table["rows"].push_back({span.worker, span.stage, candidate_name(span), span.document, granted, computing, ended,
                             span.end_reason.empty() ? "open" : span.end_reason});
  }
  return report_plot(
      {"timeline", "Workers", search.name,
       fmt::format("A bar for each document that a worker held, in seconds since {:%Y-%m-%d %H:%M:%S} UTC: blue while "
                   "it was computed, pale while it waited at the worker.",
                   fmt::gmtime(static_cast<std::time_t>(first / 1000)))},
      std::move(table));
}

}  // namespace

Json stages_plot(const std::vector<NamedSearch>& searches) {
  // The stages of a pipeline are searches of their own, with the name of their one stage.
  const bool same_names = std::ranges::all_of(searches, [](const NamedSearch& search) {
    const std::vector<StageProgress> stages = search.reader->progress();
    return stages.size() == 1 && stages.front().name == search.name;
  });
  const bool named = searches.size() > 1 && !same_names;
  std::vector<TableColumn> columns;
  if (named) columns.push_back({"search", "search", "text"});
  columns.insert(columns.end(), {{"stage", "stage", "text"},
                                 {"searched", "searched", "perplexity"},
                                 {"none", "untouched", "perplexity"},
                                 {"pi", "PI", "perplexity"},
                                 {"ntk", "NTK", "perplexity"},
                                 {"yarn", "YaRN", "perplexity"},
                                 {"length", "target length", "integer"},
                                 {"measured", "measured on", "text"},
                                 {"winner", "winner", "integer"},
                                 {"origin", "origin", "text"},
                                 {"told", "candidates", "integer"},
                                 {"passes", "passes", "integer"},
                                 {"end", "ended by", "text"}});
  Json table = report_table(columns);
  for (const NamedSearch& search : searches) {
    for (const StageProgress& stage : search.reader->progress()) {
      const std::optional<BestFactors> best = search.reader->best(stage.name);
      const bool chosen = best && best->final;
      const auto [searched, baselines] = compared_perplexities(*search.reader, stage.name, best);
      Json row = Json::array();
      if (named) row.push_back(search.name);
      const Json cells = {stage.name,
                          or_null(searched),
                          or_null(baselines.none),
                          or_null(baselines.pi),
                          or_null(baselines.ntk),
                          or_null(baselines.yarn),
                          stage.target_length,
                          chosen ? Json(fmt::format("{} held-out documents", best->heldout_documents))
                          : best ? Json("search documents, so far")
                                 : Json(),
                          or_null(stage.winner_index),
                          best ? Json(best->origin) : Json(),
                          stage.told,
                          stage.document_passes,
                          stage.end_reason.empty() ? stage.state : stage.end_reason};
      row.insert(row.end(), cells.begin(), cells.end());
      table["rows"].push_back(std::move(row));
    }
  }
  mark_lowest_in_rows(table, {"searched", "none", "pi", "ntk", "yarn"});
  return report_plot({"table", "Summary", "Stages",
                      "Perplexity of each winner and of methods that need no search, on the same held-out documents; "
                      "lower is better, ★ marks the best. While a stage searches, the best candidate so far stands "
                      "beside the closed forms among its seeds, on the search documents. A pass is the cost of "
                      "scoring one document once."},
                     std::move(table));
}

Json searches_plot(const std::vector<NamedSearch>& searches) {
  Json table = report_table({{"search", "search", "text"},
                             {"model", "model", "text"},
                             {"digest", "model digest", "text"},
                             {"dtype", "dtype", "text"},
                             {"angles", "angles", "text"},
                             {"threads", "threads per worker", "integer"},
                             {"seed", "seed", "text"},
                             {"version", "longrope", "text"}});
  for (const NamedSearch& search : searches) {
    const RunInfo run = search.reader->run();
    // A seed of 64 bits does not fit a number of JavaScript.
    table["rows"].push_back({search.name, run.model_name, run.model_digest.substr(0, 12), run.dtype, run.angles,
                             run.threads_per_worker, std::to_string(run.seed), run.software_version});
  }
  return report_plot({"table", "Summary", "Searches", ""}, std::move(table));
}

std::vector<Json> history_plots(const NamedSearch& search) {
  std::vector<Json> plots;
  for (const StageProgress& stage : search.reader->progress()) {
    if (stage.told > 0) plots.push_back(history_plot(search, stage));
  }
  return plots;
}

std::vector<Json> factor_plots(const std::vector<NamedSearch>& searches) {
  const std::vector<FactorSeries> lines = factor_series(searches);
  std::set<std::size_t> pair_counts;
  for (const FactorSeries& line : lines) pair_counts.insert(line.lambda.size());
  std::vector<Json> plots;
  for (const std::size_t pairs : pair_counts) {
    Json table = report_table({{"pair", "pair", "integer"}});
    std::vector<Json> rows(pairs);
    for (std::size_t pair = 0; pair < pairs; ++pair) rows[pair].push_back(pair);
    std::size_t number = 0;
    for (const FactorSeries& line : lines) {
      if (line.lambda.size() != pairs) continue;
      table["columns"].push_back({{"key", fmt::format("line{}", number++)},
                                  {"name", line.name},
                                  {"format", "number"},
                                  {"method", line.method},
                                  {"stage", line.stage},
                                  {"length", line.length}});
      for (std::size_t pair = 0; pair < pairs; ++pair) rows[pair].push_back(line.lambda[pair]);
    }
    table["rows"] = rows;
    plots.push_back(report_plot(
        {"factors", "Factors", fmt::format("λ by rotary pair, {} pairs", pairs),
         "λ divides the angle of a pair. Winners, the closed forms of the same extension, and published arrays "
         "for a model and length like these. Pair 0 rotates fastest."},
        std::move(table)));
  }
  return plots;
}

std::vector<Json> worker_plots(const std::vector<NamedSearch>& searches) {
  std::vector<Json> plots;
  std::vector<TableColumn> columns = {{"worker", "worker", "text"},
                                      {"state", "state", "text"},
                                      {"results", "results", "integer"},
                                      {"failures", "failures", "integer"},
                                      {"seconds", "seconds of scoring", "seconds"},
                                      {"host", "host", "text"},
                                      {"threads", "threads", "integer"},
                                      {"device", "device", "text"}};
  if (searches.size() > 1) columns.insert(columns.begin(), {"search", "search", "text"});
  Json table = report_table(columns);
  for (const NamedSearch& search : searches) {
    const std::vector<LeaseSpan> spans = search.reader->timeline();
    if (spans.empty()) continue;
    plots.push_back(timeline_plot(search, spans));
    for (const WorkerStatus& worker : search.reader->workers()) {
      Json row = Json::array();
      if (searches.size() > 1) row.push_back(search.name);
      const Json cells = {worker.id,      worker.state, worker.results, worker.failures,
                          worker.seconds, worker.host,  worker.threads, worker.device};
      row.insert(row.end(), cells.begin(), cells.end());
      table["rows"].push_back(std::move(row));
    }
  }
  if (!plots.empty()) plots.push_back(report_plot({"table", "Workers", "Who computed", ""}, std::move(table)));
  return plots;
}

}  // namespace longrope
