#include "report/report_data.h"

#include "coordinator/store/store_reader.h"
#include "evaluation/evaluation_json.h"
#include "evaluation/verdict_text.h"
#include "report/evaluation_plots.h"
#include "report/pipeline_plots.h"
#include "report/search_plots.h"
#include "report/stage_answers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <set>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

/// `name`, with a number if it was used before.
std::string distinct(const std::string& name, std::set<std::string>& used) {
  std::string candidate = name;
  for (int number = 2; !used.insert(candidate).second; ++number) candidate = fmt::format("{} ({})", name, number);
  return candidate;
}

void append(Json& plots, std::vector<Json> more) {
  for (Json& plot : more) plots.push_back(std::move(plot));
}

}  // namespace

Json report_data(const ReportSources& sources) {
  std::set<std::string> used;
  std::vector<std::unique_ptr<StoreReader>> readers;
  std::vector<NamedSearch> searches;
  std::vector<std::string> names;
  for (const ReportSearch& source : sources.searches) {
    readers.push_back(std::make_unique<StoreReader>(source.database));
    names.push_back(distinct(source.name.empty() ? readers.back()->run().name : source.name, used));
    searches.push_back({names.back(), readers.back().get()});
  }
  Json plots = Json::array();
  if (!searches.empty()) {
    plots.push_back(stages_plot(searches));
    plots.push_back(searches_plot(searches));
  }
  append(plots, pipeline_plots(sources.pipeline));
  for (const std::filesystem::path& path : sources.evaluations) {
    const EvaluationReport evaluation = read_evaluation_report(path);
    append(plots, evaluation_plots(evaluation, distinct(fmt::format("Evaluation of {} on {}", evaluation.model.name,
                                                                    evaluation.documents.file),
                                                        used)));
  }
  for (const NamedSearch& search : searches) append(plots, history_plots(search));
  append(plots, factor_plots(searches));
  append(plots, worker_plots(searches));
  const std::string title =
      sources.title.empty() ? fmt::format("LongRoPE search {}", fmt::join(names, ", ")) : sources.title;
  return {{"title", title}, {"stages", stage_answers(searches)}, {"plots", std::move(plots)}};
}

}  // namespace longrope
