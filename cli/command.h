#pragma once

#include "common/exit_codes.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>

namespace longrope {

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
void add_completion_command(CLI::App& app);

// These need Torch, and are part of the program longrope-worker.
void add_worker_command(CLI::App& app);
void add_score_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_finetune_command(CLI::App& app);
void add_check_engine_command(CLI::App& app);
void add_devices_command(CLI::App& app);

/// Adds the model, as `--model DIR` or as DIR alone, which sets `directory`; required.
void add_model(CLI::App& command, std::string& directory, const std::string& help = "Hugging Face model directory");
/// Makes `option` a number of tokens, or several: digits, or 8k for 8,192 and 1M for 1,048,576.
CLI::Option* in_tokens(CLI::Option* option);
/// Adds --db, which sets `database`: that of a search or a pipeline, read while it may be in use.
void add_search_database(CLI::App& command, std::string& database);
/// Adds --memory-budget, which sets `bytes`.
void add_memory_budget(CLI::App& command, std::int64_t& bytes);

/// Parses, runs, and turns exceptions into a message on standard error and an exit code. A command whose output could
/// not be written has failed.
[[nodiscard]] int run_program(CLI::App& app, int argc, char** argv);

}  // namespace longrope
