#include "worker/model/layer_stream.h"

#include "worker/model/memory_estimate.h"

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

/// The weights with `change` made to every tensor that there is.
template <typename Change>
LayerWeights changed(LayerWeights weights, const Change& change) {
  const auto apply = [&](at::Tensor& tensor) {
    if (tensor.defined()) tensor = change(tensor);
  };
  for (at::Tensor* const norm :
       {&weights.attention_norm, &weights.query_norm, &weights.key_norm, &weights.feed_forward_norm}) {
    apply(*norm);
  }
  for (LinearWeights* const linear :
       {&weights.query_key_value, &weights.attention_output, &weights.gate_up, &weights.down}) {
    apply(linear->weight);
    apply(linear->bias);
  }
  return weights;
}

}  // namespace

LayerStream::LayerStream(at::Device device) : device_(device) {
  if (device.is_cuda()) copying_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

void LayerStream::add(const LayerWeights& weights) {
  layers_.push_back(device_.is_cuda() ? changed(weights, [](const at::Tensor& tensor) { return tensor.pin_memory(); })
                                      : weights);
}

void LayerStream::send(std::int64_t index) {
  const auto copied = [&] {
    return changed(layers_[static_cast<std::size_t>(index)], [&](const at::Tensor& tensor) {
      return tensor.to(device_, tensor.scalar_type(), /*non_blocking=*/true);
    });
  };
  if (!copying_) {
    sent_.push_back({index, copied(), std::nullopt});
    return;
  }
  const c10::Stream computing = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  const c10::StreamGuard guard(*copying_);
  LayerWeights weights = changed(copied(), [&](const at::Tensor& tensor) {
    tensor.record_stream(computing);  // its memory is not used anew before what computes with it has ended
    return tensor;
  });
  c10::Event arrived(device_.type());
  arrived.record(*copying_);
  sent_.push_back({index, std::move(weights), std::move(arrived)});
}

LayerWeights LayerStream::take(std::int64_t index) {
  const auto count = static_cast<std::int64_t>(layers_.size());
  if (!sent_.empty()) sent_.pop_front();  // the one before
  if (!sent_.empty() && sent_.front().index != index) sent_.clear();
  for (auto ahead = static_cast<std::int64_t>(sent_.size()); ahead < std::min(count, kStreamedLayers); ++ahead) {
    send((index + ahead) % count);
  }
  const Sent& next = sent_.front();
  if (next.arrived) next.arrived->block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  return next.weights;
}

}  // namespace longrope
