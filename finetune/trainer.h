#pragma once

#include "finetune/training_run.h"

#include <atomic>
#include <cstdint>
#include <functional>

namespace longrope {

/// Who is told of a run, from the thread that trains.
struct TrainingObserver {
  std::function<void(std::int64_t steps)> continued;  // so many were done before
  std::function<void(const TrainingStep& step, double seconds)> step_finished;
};

enum class TrainingEnd { kFinished, kStopped };

/// Trains and writes the model to `out`; stops after the update during which `stop` was set, with its state on disk.
/// The same call goes on from the last state, after a kill at any moment, with the same bits. Throws InputError for
/// options, documents or files that break a rule, before anything is computed; Error when the loss is no longer finite
/// (the state before it is kept) or a file cannot be written. Changes Torch's threads for the whole process. Several
/// processes (options.place) make the same call, and see the same folders: each takes its share of every batch, rank 0
/// writes and observes; a stop of one stops all.
[[nodiscard]] TrainingEnd train(const TrainingOptions& options, const TrainingObserver& observer,
                                const std::atomic<bool>& stop);

}  // namespace longrope
