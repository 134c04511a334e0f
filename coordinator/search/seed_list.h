#pragma once

#include "common/rope/rescale_factors.h"
#include "coordinator/search/genome.h"
#include "coordinator/search/seeds.h"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// Seeds of one space in the order in which they were added, without duplicates: two that are scored alike are one.
/// Not thread-safe. Keeps a reference to the space.
class SeedList {
 public:
  explicit SeedList(const GenomeSpace& space) : space_(space) {}

  /// Rounds `lambda`, measured over what the checkpoint carries, to the grid and multiplies it by that. `attention` is
  /// total.
  void add_rounded(std::string origin, const std::vector<double>& lambda, std::int64_t n_hat,
                   const AttentionFactor& attention);
  /// Total factors of others, off the grid when they are, except that what is not monotone over what the checkpoint
  /// carries is rounded to the grid, which restores monotonicity. Throws InputError for factors that do not fit the
  /// model.
  void add_published(std::string origin, const RescaleFactors& published);

  /// n̂ of closed forms. The paper names none for its seeds: 0 where it is a choice, else the closest to it.
  [[nodiscard]] std::int64_t smallest_n_hat() const;
  [[nodiscard]] const std::vector<Seed>& seeds() const { return seeds_; }

 private:
  void add(std::string origin, RescaleFactors factors);

  const GenomeSpace& space_;
  std::vector<Seed> seeds_;
  std::set<std::string> digests_;
};

}  // namespace longrope
