#include "cli/status_report.h"

#include "common/duration.h"
#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace longrope {
namespace {

/// Evaluations of search candidates that are still to be scored, if the whole budget is used.
double search_left(const StageProgress& stage) {
  const std::int64_t asked = stage.told + stage.quarantined + stage.open;
  if (asked == 0) return 0.0;
  const std::int64_t waiting = stage.evaluations_pending + stage.evaluations_leased;
  const std::int64_t needed = waiting + stage.evaluations_scored + stage.evaluations_failed;
  const double documents = static_cast<double>(needed) / static_cast<double>(asked);
  return static_cast<double>(waiting) + documents * static_cast<double>(std::max(stage.budget - asked, {}));
}

nlohmann::ordered_json or_null(const auto& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

nlohmann::ordered_json stage_json(const StageProgress& stage) {
  const StagePace pace = stage_pace(stage);
  return {{"name", stage.name},
          {"target_length", stage.target_length},
          {"state", stage.state},
          {"told", stage.told},
          {"quarantined", stage.quarantined},
          {"budget", stage.budget},
          {"best_search_perplexity", or_null(stage.best_search_perplexity)},
          {"best_candidate", or_null(stage.best_index)},
          {"winner", or_null(stage.winner_index)},
          {"evaluations_pending", stage.evaluations_pending},
          {"evaluations_leased", stage.evaluations_leased},
          {"evaluations_scored", stage.evaluations_scored},
          {"evaluations_failed", stage.evaluations_failed},
          {"judging_evaluations", stage.judging_evaluations},
          {"judging_scored", stage.judging_scored},
          {"document_passes", stage.document_passes},
          {"active_seconds", stage.active_seconds},
          {"documents_per_second", or_null(pace.documents_per_second)},
          {"seconds_left", or_null(pace.seconds_left)},
          {"end_reason", stage.end_reason},
          {"end_detail", stage.end_detail}};
}

nlohmann::ordered_json worker_json(const WorkerStatus& worker) {
  return {{"id", worker.id},           {"state", worker.state},       {"host", worker.host},
          {"device", worker.device},   {"threads", worker.threads},   {"leases", worker.leases},
          {"results", worker.results}, {"failures", worker.failures}, {"seconds", worker.seconds},
          {"detail", worker.detail}};
}

}  // namespace

StagePace stage_pace(const StageProgress& stage) {
  const bool at_work = stage.state == "searching" || stage.state == "choosing";
  if (!at_work || stage.evaluations_scored == 0 || stage.active_seconds <= 0.0) return {};
  const double rate = static_cast<double>(stage.evaluations_scored) / stage.active_seconds;
  const auto judging = static_cast<double>(std::max(stage.judging_evaluations - stage.judging_scored, {}));
  return {rate, ((stage.state == "searching" ? search_left(stage) : 0.0) + judging) / rate};
}

std::string pace_line(const StatusReport& report) {
  const auto stage = std::ranges::find_if(report.stages, [](const StageProgress& candidate) {
    return candidate.state == "searching" || candidate.state == "choosing";
  });
  if (stage == report.stages.end()) return "";
  std::string line = fmt::format("stage {} ({} of {})", printable_text(stage->name), stage - report.stages.begin() + 1,
                                 report.stages.size());
  if (stage->best_search_perplexity) {
    line += fmt::format(", best {:.4f} (candidate {})", *stage->best_search_perplexity, stage->best_index.value_or(0));
  }
  const StagePace pace = stage_pace(*stage);
  if (pace.documents_per_second) line += fmt::format(", {:.2f} documents/s", *pace.documents_per_second);
  if (pace.seconds_left) {
    line +=
        fmt::format(", {}{} left", stage->state == "searching" ? "at most " : "", duration_text(*pace.seconds_left));
  }
  const auto connected = std::ranges::count(report.workers, "connected", &WorkerStatus::state);
  return line + fmt::format(", {} worker{} connected", connected, connected == 1 ? "" : "s");
}

nlohmann::ordered_json status_json(const StatusReport& report) {
  nlohmann::ordered_json json = {{"search", report.run.name},
                                 {"seed", report.run.seed},
                                 {"model", report.run.model_name},
                                 {"model_digest", report.run.model_digest},
                                 {"dtype", report.run.dtype},
                                 {"angles", report.run.angles},
                                 {"threads_per_worker", report.run.threads_per_worker},
                                 {"stages", nlohmann::ordered_json::array()},
                                 {"costs", nlohmann::ordered_json::array()},
                                 {"workers", nlohmann::ordered_json::array()}};
  for (const StageProgress& stage : report.stages) json["stages"].push_back(stage_json(stage));
  for (const KindCost& cost : report.costs) {
    json["costs"].push_back({{"kind", cost.kind},
                             {"evaluations", cost.evaluations},
                             {"scored", cost.scored},
                             {"document_passes", cost.document_passes}});
  }
  for (const WorkerStatus& worker : report.workers) json["workers"].push_back(worker_json(worker));
  return json;
}

}  // namespace longrope
