#pragma once

#include "config/config.h"
#include "pipeline/stage.h"

#include <filesystem>

namespace longrope {

enum class PipelineEnd { kFinished, kStopped, kWaiting };

/// Carries a pipeline on from where its database says it is, stage by stage, until it is finished, SIGINT or SIGTERM
/// asks to stop (stop_on_signals() is called before the first stage), or a stage waits for the user. What is done stays
/// done, whatever ends this process: each stage can be interrupted anywhere, goes on from what it has on disk and gives
/// the same output, which appears whole. Throws Error or InputError when a stage cannot be done; its row says why, and
/// the next run tries it again. What could not be done later is refused at once, as far as require_feasible() knows it
/// (preflight.h).
PipelineEnd run_pipeline(const Config& config, const std::filesystem::path& database, const PipelineTools& tools);

}  // namespace longrope
