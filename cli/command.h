#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace longrope {

// Exit codes of every command (README, "Exit codes").
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailure = 1;   // the work could not be done: database, network, device
inline constexpr int kExitBadInput = 2;  // command line, configuration or a file broke a rule; nothing was changed
inline constexpr int kExitWaiting = 3;   // a pipeline waits for the user

// Each adds one command to `app`, with help and examples. The callback does the work: it throws InputError or Error.
void add_run_command(CLI::App& app);
void add_coordinator_command(CLI::App& app);
void add_stage_command(CLI::App& app);
void add_status_command(CLI::App& app);
void add_history_command(CLI::App& app);
void add_best_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_import_command(CLI::App& app);
void add_factors_command(CLI::App& app);
void add_documents_command(CLI::App& app);
void add_inspect_model_command(CLI::App& app);

// These need Torch and live in the program longrope-worker.
void add_worker_command(CLI::App& app);
void add_score_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_finetune_command(CLI::App& app);

/// Adds --memory-budget, which sets `bytes`.
void add_memory_budget(CLI::App& command, std::int64_t& bytes);

/// Parses, runs, and turns exceptions into a message on standard error and an exit code. A command whose output could
/// not be written has failed.
[[nodiscard]] int run_program(CLI::App& app, int argc, char** argv);

}  // namespace longrope
