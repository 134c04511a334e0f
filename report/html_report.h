#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

struct ReportSearch {
  std::string name;                // empty: the name in its configuration
  std::filesystem::path database;  // may be in use
};

/// A stage of a pipeline.
struct ReportPipelineStage {
  std::string name;
  std::string kind;             // "search", "finetune", …
  std::string state;            // "pending", "running", "waiting", "finished", "failed", "skipped"
  std::string detail;           // why it failed, or what it waits for
  std::int64_t started_at = 0;  // Unix milliseconds; 0: not begun
  std::int64_t ended_at = 0;    // Unix milliseconds; 0: not ended
  std::int64_t active_milliseconds = 0;
  std::filesystem::path training_log;  // training_log.jsonl of a finished fine-tuning; empty: none
};

struct ReportSources {
  std::string title;                               // empty: the names of the searches
  std::vector<ReportSearch> searches;              // in the order of the page
  std::vector<std::filesystem::path> evaluations;  // JSON files that `longrope evaluate` wrote
  std::vector<ReportPipelineStage> pipeline;       // in the order of the pipeline; empty: no pipeline
};

/// One HTML file with tables and plots, which needs no other file and no network (docs/report.md). Names in databases
/// and evaluations are shown as text, whatever they hold. Equal searches give equal bytes, except for the time that
/// stages took, the timelines and the workers. Throws InputError for a file that is not a search database, not an
/// evaluation or not a training log, Error when SQLite fails. Thread-safe.
[[nodiscard]] std::string html_report(const ReportSources& sources);

}  // namespace longrope
