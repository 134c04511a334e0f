#pragma once

#include "coordinator/store/store_reader.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// How fast a stage goes and when it will be done, from its row: an average over the time spent in it, over all
/// restarts. Both are nullopt in a stage that is finished or has scored nothing.
struct StagePace {
  std::optional<double> documents_per_second;
  std::optional<double> seconds_left;  // with the held-out and final documents, if the whole budget is used
};

[[nodiscard]] StagePace stage_pace(const StageProgress& stage);

/// What `longrope status` tells of a search.
struct StatusReport {
  RunInfo run;
  std::vector<StageProgress> stages;
  std::vector<KindCost> costs;
  std::vector<WorkerStatus> workers;
};

/// The line below the table of stages: best, rate and time left of the stage that is at work; empty when none is.
[[nodiscard]] std::string pace_line(const StatusReport& report);
/// The whole report; numbers that there are not yet are null. A report may get new keys.
[[nodiscard]] nlohmann::ordered_json status_json(const StatusReport& report);

}  // namespace longrope
