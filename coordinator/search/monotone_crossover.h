#pragma once

#include "common/random_stream.h"
#include "coordinator/search/genome.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace longrope {

enum class CrossoverStrategy { kUniform, kTwoPoint };

/// Takes each gene, n̂ and attention factor included, from the second parent with probability 1/2, else from the first.
/// The child may be non-monotone.
[[nodiscard]] Genome uniform_crossover(const Genome& first, const Genome& second, RandomStream& random);

/// Pairs begin … end − 1 from the second parent, the rest from the first; n̂ and attention factor from `first`.
/// Monotone if and only if it is so at the two junctions, because both parents are monotone.
[[nodiscard]] Genome two_point_child(const Genome& first, const Genome& second, std::size_t begin, std::size_t end);

/// two_point_child at two distinct random cuts; n̂ and attention factor come from either parent at random.
[[nodiscard]] Genome two_point_crossover(const Genome& first, const Genome& second, RandomStream& random);

/// A valid result of a crossover.
struct Offspring {
  Genome genome;
  std::string_view origin;  // "crossover:uniform", "crossover:two-point", "crossover:released"
};

/// Up to `max_tries` tries, the two strategies in turn beginning with `strategy`, until the child is monotone and new
/// (spec §4.5). nullopt: every try failed; the caller falls back to a mutant of the first parent.
[[nodiscard]] std::optional<Offspring> crossover(const Genome& first, const Genome& second, CrossoverStrategy strategy,
                                                 std::int64_t max_tries, const IsNew& is_new, RandomStream& random);

/// The released code's operator (spec §4.5): pairs in order are considered with `probability` and then copied from the
/// second parent with probability 1/2; the child is taken the first time it is monotone and new, so it differs from the
/// first parent in about one gene. What was copied stays, also from one try to the next.
[[nodiscard]] std::optional<Offspring> released_crossover(const Genome& first, const Genome& second, double probability,
                                                          std::int64_t max_tries, const IsNew& is_new,
                                                          RandomStream& random);

}  // namespace longrope
