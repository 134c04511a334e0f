#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace longrope {

// What a user decides about the stages of a pipeline that is not running (`longrope stage`). Each takes the writer's
// lock of `database`, and throws InputError when there is no such stage or it is in a state that forbids it.

/// What retry_stage() calls for each stage that it makes pending again.
struct RetryReports {
  std::function<void(const std::filesystem::path& folder)> kept;  // the stage's folder is here now; if there was one
  std::function<void(const std::string& stage)> pending;          // the stage is pending again
};

/// Makes `stage`, and every stage that takes, directly or not, what it gives, pending again. What lies in their folders
/// is kept aside. Whatever ends the process, no stage counts as finished on what is made anew.
void retry_stage(const std::filesystem::path& database, const std::string& stage, const RetryReports& reports);

/// Finishes a waiting fine-tuning with `checkpoint`, a Hugging Face model directory that require_trained_from() accepts
/// (hand_off.h). Returns it as an absolute path.
std::filesystem::path complete_stage(const std::filesystem::path& database, const std::string& stage,
                                     const std::filesystem::path& checkpoint);

/// Goes on without a stage that is neither a search nor finished.
void skip_stage(const std::filesystem::path& database, const std::string& stage);

}  // namespace longrope
