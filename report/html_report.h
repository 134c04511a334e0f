#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

struct ReportSearch {
  std::string name;                // empty: as its configuration names it
  std::filesystem::path database;  // may be in use
};

struct ReportSources {
  std::string title;                               // empty: the names of the searches
  std::vector<ReportSearch> searches;              // in the order of the page; one for each stage of a pipeline, say
  std::vector<std::filesystem::path> evaluations;  // of `longrope evaluate`
};

/// One HTML file with tables and plots, which needs no other file and no network (docs/report.md). Names in databases
/// and evaluations are text, whatever they hold. Equal searches give equal bytes, except for timeline and workers.
/// Throws InputError for a file that is no search database or no evaluation, Error when SQLite fails. Thread-safe.
[[nodiscard]] std::string html_report(const ReportSources& sources);

}  // namespace longrope
