#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// Which document each sample of a training run is: every document once in each epoch, each epoch in another random
/// order. A function of (documents, seed, name, sample) alone, so that a run that continues needs no state. Not
/// thread-safe.
class SampleOrder {
 public:
  /// Orders of one run under different names are independent. Throws InputError when `documents` is 0.
  SampleOrder(std::size_t documents, std::uint64_t seed, std::string_view name);

  /// Document of sample `sample`; both 0-based, the sample over the whole run.
  [[nodiscard]] std::size_t document(std::uint64_t sample);

 private:
  std::size_t documents_;
  std::uint64_t seed_;
  std::string name_;
  std::uint64_t epoch_ = 0;
  std::vector<std::size_t> order_;  // documents of `epoch_` in their order; empty before the first call
};

}  // namespace longrope
