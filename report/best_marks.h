#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace longrope {

// The best numbers of a table, which the page marks: table["best"] = [[row, column], …], both 0-based. Numbers that tie
// are all marked; where all numbers that are compared are equal, or only one is there, none is.

/// Compares the columns `keys` within each row; the lowest number is the best.
void mark_lowest_in_rows(nlohmann::ordered_json& table, const std::vector<std::string>& keys);

enum class BetterIs { kLower, kHigher };
/// Compares the column `key` among the rows that have the same values in the columns `group`.
void mark_best_in_groups(nlohmann::ordered_json& table, const std::string& key, const std::vector<std::string>& group,
                         BetterIs better);

}  // namespace longrope
