#pragma once

#include "coordinator/store/store_reader.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace longrope {

/// A search that is reported; the reader outlives what is called here.
struct NamedSearch {
  std::string name;  // distinct among the searches of one report
  const StoreReader* reader = nullptr;
};

// Tables and plots (report_plot.h) of searches. Whatever they hold but timeline and workers is a function of
// configuration, seed and model, as StoreReader::history is. All throw Error when SQLite fails.

/// A row for each stage: winner and its held-out perplexity beside none, PI, NTK and YaRN.
[[nodiscard]] nlohmann::ordered_json stages_plot(const std::vector<NamedSearch>& searches);
/// A row for each search: what was searched, with what.
[[nodiscard]] nlohmann::ordered_json searches_plot(const std::vector<NamedSearch>& searches);
/// Perplexity of every candidate, with its interval, and the best so far; one plot for each stage.
[[nodiscard]] std::vector<nlohmann::ordered_json> history_plots(const NamedSearch& search);
/// λ of every winner (of the best so far where there is none yet) beside the stage's PI, NTK, YaRN and published
/// arrays; one plot for each number of pairs.
[[nodiscard]] std::vector<nlohmann::ordered_json> factor_plots(const std::vector<NamedSearch>& searches);
/// Every lease as a bar, and a table of the workers. Empty before the first lease.
[[nodiscard]] std::vector<nlohmann::ordered_json> worker_plots(const NamedSearch& search);

}  // namespace longrope
