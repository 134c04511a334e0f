#pragma once

#include "coordinator/store/store_reader.h"
#include "evaluation/verdict.h"

#include <optional>
#include <string_view>
#include <vector>

namespace longrope {

/// The verdicts on a search's finished stages that have a winner, in order. Throws Error when SQLite fails, or for
/// scores that cannot be compared.
[[nodiscard]] std::vector<Verdict> search_verdicts(const StoreReader& reader);
/// The verdict on `stage`, by default on the last of them. nullopt: it has none yet.
[[nodiscard]] std::optional<Verdict> search_verdict(const StoreReader& reader,
                                                    std::optional<std::string_view> stage = std::nullopt);

}  // namespace longrope
