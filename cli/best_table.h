#pragma once

#include "coordinator/store/store_reader.h"
#include "evaluation/verdict.h"

#include <nlohmann/json.hpp>

#include <iosfwd>
#include <optional>

namespace longrope {

// The best factors of a stage, and once it has a winner, the verdict on it. Text from the database is made printable.

/// Writes the factors, and for a winner a table of all methods, the best one marked, with the verdict in sentences.
void write_best(const BestFactors& best, const std::optional<Verdict>& verdict, std::ostream& out);
[[nodiscard]] nlohmann::ordered_json best_json(const BestFactors& best, const std::optional<Verdict>& verdict);

}  // namespace longrope
