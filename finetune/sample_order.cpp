#include "finetune/sample_order.h"

#include "common/error.h"
#include "common/random_stream.h"

#include <numeric>
#include <utility>

namespace longrope {

SampleOrder::SampleOrder(std::size_t documents, std::uint64_t seed, std::string_view name)
    : documents_(documents), seed_(seed), name_(name) {
  if (documents == 0) throw InputError("documents to train on must be at least 1: 0");
}

std::size_t SampleOrder::document(std::uint64_t sample) {
  const std::uint64_t epoch = sample / documents_;
  if (order_.empty() || epoch != epoch_) {
    epoch_ = epoch;
    order_.resize(documents_);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    RandomStream random(seed_, name_, epoch);
    for (std::size_t last = documents_ - 1; last > 0; --last) {  // Fisher–Yates
      std::swap(order_[last], order_[random.below(last + 1)]);
    }
  }
  return order_[sample % documents_];
}

}  // namespace longrope
