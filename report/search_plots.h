#pragma once

#include "coordinator/store/store_reader.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace longrope {

/// A search of the report. The reader must outlive the calls below.
struct NamedSearch {
  std::string name;  // distinct among the searches of one report
  const StoreReader* reader = nullptr;
};

// Tables and plots (report_plot.h) of searches. All but the timeline and the workers are functions of configuration,
// seed and model, as StoreReader::history is. All throw Error when SQLite fails.

/// A row for each stage: its winner's held-out perplexity beside those of the untouched model, PI, NTK and YaRN, or
/// what is known on the search documents before there is a winner.
[[nodiscard]] nlohmann::ordered_json stages_plot(const std::vector<NamedSearch>& searches);
/// A row for each search: model, dtype, seed and version that it was made with.
[[nodiscard]] nlohmann::ordered_json searches_plot(const std::vector<NamedSearch>& searches);
/// Perplexity of every candidate, with its interval, and the best so far; one plot for each stage.
[[nodiscard]] std::vector<nlohmann::ordered_json> history_plots(const NamedSearch& search);
/// λ of every winner (where there is none yet, of the best candidate so far) beside PI, NTK, YaRN and published arrays
/// for the same stage; one plot for each number of pairs.
[[nodiscard]] std::vector<nlohmann::ordered_json> factor_plots(const std::vector<NamedSearch>& searches);
/// Every lease as a bar, one plot for each search, and a table of all workers. Empty before the first lease.
[[nodiscard]] std::vector<nlohmann::ordered_json> worker_plots(const std::vector<NamedSearch>& searches);

}  // namespace longrope
