#pragma once

#include "finetune/training_run.h"

#include <atomic>
#include <cstdint>
#include <functional>

namespace longrope {

/// Callbacks of a run, called on the thread that trains.
struct TrainingObserver {
  std::function<void(std::int64_t steps)> continued;  // a state on disk had `steps` updates; called at most once
  std::function<void(const TrainingStep& step, double seconds)> step_finished;  // `seconds`: duration of this update
};

enum class TrainingEnd { kFinished, kStopped };

/// Trains and writes the model to `options.out`. When `stop` is set, it ends after the current update, with its state
/// on disk; the same call continues from the last state, also after a kill at any moment, and gives the same bits.
///
/// Several processes (`options.place`) make the same call and see the same folders: each trains on its share of every
/// batch, rank 0 alone writes and calls the observer, and a stop of one process stops all.
///
/// Throws InputError for options, documents or files that break a rule, before anything is computed; Error when the
/// loss is no longer finite (the state before it is kept) or a file cannot be written. Sets the number of Torch's
/// threads for the whole process.
[[nodiscard]] TrainingEnd train(const TrainingOptions& options, const TrainingObserver& observer,
                                const std::atomic<bool>& stop);

}  // namespace longrope
