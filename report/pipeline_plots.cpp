#include "report/pipeline_plots.h"

#include "common/error.h"
#include "common/files/read_file.h"
#include "report/report_plot.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSection = "Pipeline";
constexpr double kMillisecondsPerMinute = 60'000.0;
constexpr std::size_t kMaxLogBytes = std::size_t{256} << 20U;

Json stages_table(const std::vector<ReportPipelineStage>& stages) {
  Json table = report_table({{"stage", "stage", "text"},
                             {"kind", "kind", "text"},
                             {"state", "state", "text"},
                             {"minutes", "minutes of work", "seconds"},
                             {"detail", "remark", "text"}});
  for (const ReportPipelineStage& stage : stages) {
    table["rows"].push_back(
        {stage.name, stage.kind, stage.state,
         stage.started_at > 0 ? Json(static_cast<double>(stage.active_milliseconds) / kMillisecondsPerMinute) : Json(),
         stage.detail});
  }
  return report_plot({"table", kSection, "Stages of the pipeline", ""}, std::move(table));
}

Json stages_timeline(const std::vector<ReportPipelineStage>& stages, std::int64_t first, std::int64_t last) {
  Json table = report_table({{"stage", "stage", "text"},
                             {"kind", "kind", "text"},
                             {"state", "state", "text"},
                             {"begun", "begun", "seconds"},
                             {"ended", "ended", "seconds"}});
  const auto minutes = [first](std::int64_t time) {
    return static_cast<double>(time - first) / kMillisecondsPerMinute;
  };
  for (const ReportPipelineStage& stage : stages) {
    if (stage.started_at == 0) continue;
    const std::int64_t ended = std::max(stage.started_at, stage.ended_at > 0 ? stage.ended_at : last);
    table["rows"].push_back({stage.name, stage.kind, stage.state, minutes(stage.started_at), minutes(ended)});
  }
  return report_plot({"stages", kSection, "When each stage ran",
                      fmt::format("In minutes since {:%Y-%m-%d %H:%M:%S} UTC, from the first start of a stage to its "
                                  "end, with the time when nothing ran.",
                                  fmt::gmtime(static_cast<std::time_t>(first / 1000)))},
                     std::move(table));
}

void append_training_log(const ReportPipelineStage& stage, Json& rows) {
  std::istringstream lines(read_file(stage.training_log, kMaxLogBytes));
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    try {
      const Json step = Json::parse(line);
      if (step.at("loss").is_null() || step.at("gradient_norm").is_null()) continue;  // JSON's only word for NaN
      rows.push_back({stage.name, step.at("step").get<std::int64_t>(), step.at("loss").get<double>(),
                      step.at("learning_rate").get<double>(), step.at("gradient_norm").get<double>()});
    } catch (const nlohmann::json::exception&) {
      throw InputError(fmt::format(
          "a line of a training log must be an object with step, loss, learning_rate and gradient_norm: {}:{}",
          stage.training_log.string(), number));
    }
  }
}

}  // namespace

std::vector<Json> pipeline_plots(const std::vector<ReportPipelineStage>& stages) {
  if (stages.empty()) return {};
  std::vector<Json> plots = {stages_table(stages)};
  std::int64_t first = 0;
  std::int64_t last = 0;
  Json losses = report_table({{"series", "stage", "text"},
                              {"step", "step", "integer"},
                              {"loss", "loss", "number"},
                              {"rate", "learning rate", "number"},
                              {"norm", "norm of the gradient", "number"}});
  for (const ReportPipelineStage& stage : stages) {
    if (stage.started_at > 0 && (first == 0 || stage.started_at < first)) first = stage.started_at;
    last = std::max({last, stage.started_at, stage.ended_at});
    if (!stage.training_log.empty()) append_training_log(stage, losses["rows"]);
  }
  if (first > 0) plots.push_back(stages_timeline(stages, first, last));
  if (!losses["rows"].empty()) {
    plots.push_back(report_plot({"loss", kSection, "Training loss",
                                 "Mean NLL per token of the batch of each step, in nats. The line is a mean over the "
                                 "steps around it; the points are single steps."},
                                std::move(losses)));
  }
  return plots;
}

}  // namespace longrope
