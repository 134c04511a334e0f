#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// Which document each sample of a training run is: every document once in each epoch, in an order of its own. A
/// function of (documents, seed, name, sample) alone, so that a run that continues needs no state. Not thread-safe.
class SampleOrder {
 public:
  /// `name` tells the orders of one run apart. Throws InputError without documents.
  SampleOrder(std::size_t documents, std::uint64_t seed, std::string_view name);

  /// The document, counted from 0, of sample `sample`, counted from 0 over the whole run.
  [[nodiscard]] std::size_t document(std::uint64_t sample);

 private:
  std::size_t documents_;
  std::uint64_t seed_;
  std::string name_;
  std::uint64_t epoch_ = 0;
  std::vector<std::size_t> order_;  // of epoch_; empty before the first call
};

}  // namespace longrope
