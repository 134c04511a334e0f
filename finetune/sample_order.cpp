#include "finetune/sample_order.h"

#include "common/error.h"
#include "common/random_stream.h"

#include <numeric>

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
    RandomStream(seed_, name_, epoch).shuffle(order_);
  }
  return order_[sample % documents_];
}

}  // namespace longrope
