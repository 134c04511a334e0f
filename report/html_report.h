#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace longrope {

struct ReportSearch {
  std::string name;                // empty: the name in its configuration
  std::filesystem::path database;  // may be in use
};

struct ReportSources {
  std::string title;                               // empty: the names of the searches
  std::vector<ReportSearch> searches;              // in the order of the page
  std::vector<std::filesystem::path> evaluations;  // JSON files that `longrope evaluate` wrote
};

/// One HTML file with tables and plots, which needs no other file and no network (docs/report.md). Names in databases
/// and evaluations are shown as text, whatever they hold. Equal searches give equal bytes, except for the timeline and
/// the workers. Throws InputError for a file that is not a search database or not an evaluation, Error when SQLite
/// fails. Thread-safe.
[[nodiscard]] std::string html_report(const ReportSources& sources);

}  // namespace longrope
