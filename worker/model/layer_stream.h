#pragma once

#include "worker/model/layer_weights.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace longrope {

/// Layers whose weights lie in host memory and come to a device one after the other, two ahead of the one in use: the
/// copies run beside the arithmetic. Memory on the device: kStreamedLayers (memory_estimate.h). On a CUDA device the
/// host memory is pinned; the CPU takes the layers where they lie. Not thread-safe.
class LayerStream {
 public:
  explicit LayerStream(at::Device device);

  /// Adds the next layer, from host memory.
  void add(const LayerWeights& weights);
  /// Layer `index` on the device, for operations of the current stream; the layer taken before is given up. Layers are
  /// meant to be taken in order, from the first again after the last; another order costs time.
  [[nodiscard]] LayerWeights take(std::int64_t index);

 private:
  struct Sent {
    std::int64_t index;
    LayerWeights weights;
    std::optional<c10::Event> arrived;  // on CUDA
  };

  void send(std::int64_t index);

  at::Device device_;
  std::optional<c10::Stream> copying_;  // on CUDA: what all copies are queued on
  std::vector<LayerWeights> layers_;
  std::deque<Sent> sent_;
};

}  // namespace longrope
