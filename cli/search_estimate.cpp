#include "cli/search_estimate.h"

#include "pipeline/run_plan.h"

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

constexpr std::int64_t kRoundsAtLeast = 4;  // results of each worker that a rate covers, once there are so many

}  // namespace

RunOutline outline_run(const Config& config, const std::set<std::string>& over) {
  RunOutline outline{.stages = config.stages.size()};
  for (std::size_t index = 0; index < config.stages.size(); ++index) {
    const PipelineStage& stage = config.stages[index];
    if (over.contains(stage.name)) continue;
    outline.not_over.push_back({.name = stage.name, .number = index + 1});
  }
  const std::vector<StageCost> costs = plan_run(config, over);
  for (std::size_t index = 0; index < costs.size(); ++index) {
    outline.not_over[index].passes = costs[index].passes;
    outline.not_over[index].operations = costs[index].operations;
  }
  return outline;
}

void SearchEstimate::observe(const SearchProgress& progress, std::chrono::milliseconds now) {
  if (progress.stage != progress_.stage) {  // documents of another length take another time
    scored_before_ = progress_.stage.empty() ? 0 : progress_.evaluations_scored;
    begun_.reset();
    samples_.clear();
  }
  progress_ = progress;
  const std::int64_t scored = progress.evaluations_scored - scored_before_;
  if (!begun_) {
    if (scored == 0 || scored < static_cast<std::int64_t>(progress.workers_ready)) return;
    begun_ = Sample{now, scored};
    samples_ = {*begun_};
    return;
  }
  if (scored == samples_.back().scored) return;
  const auto workers = static_cast<std::int64_t>(progress.workers_ready);
  samples_.push_back({now, scored});
  const std::int64_t results = scored - begun_->scored;
  const std::int64_t covered = std::min(results, std::max(kRoundsAtLeast * workers, results / 2));
  while (samples_.size() > 2 && samples_[1].scored <= scored - covered) samples_.pop_front();
}

std::optional<double> SearchEstimate::rate() const {
  if (samples_.size() < 2) return std::nullopt;
  const std::chrono::duration<double> seconds = samples_.back().time - samples_.front().time;
  if (seconds.count() <= 0.0) return std::nullopt;
  return static_cast<double>(samples_.back().scored - samples_.front().scored) / seconds.count();
}

std::optional<double> SearchEstimate::seconds_left() const {
  const std::optional<double> documents = rate();
  if (!documents) return std::nullopt;
  double searching = static_cast<double>(progress_.search_left) / *documents;
  if (progress_.search_time_left) {
    const std::chrono::duration<double> limit = *progress_.search_time_left;
    searching = std::clamp(searching, 0.0, std::max(limit.count(), 0.0));
  }
  return searching + static_cast<double>(progress_.judging_left) / *documents;
}

std::optional<double> SearchEstimate::seconds_left(const RunOutline& run) const {
  const std::optional<double> stage_left = seconds_left();
  const auto current = std::ranges::find(run.not_over, progress_.stage, &OutlinedStage::name);
  if (!stage_left || current == run.not_over.end() || current + 1 == run.not_over.end() || current->passes == 0) {
    return std::nullopt;
  }
  const double operations_per_second = *rate() * current->operations / static_cast<double>(current->passes);
  double later = 0.0;
  for (auto stage = current + 1; stage != run.not_over.end(); ++stage) later += stage->operations;
  return *stage_left + later / operations_per_second;
}

}  // namespace longrope
