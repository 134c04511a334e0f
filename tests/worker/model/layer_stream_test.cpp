#include "worker/model/layer_stream.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

/// A layer whose numbers all are `value`, without biases and head norms.
LayerWeights layer_of(double value) {
  const at::Tensor vector = at::full({2}, value);
  const LinearWeights linear = {.weight = at::full({2, 2}, value), .bias = {}};
  return {.attention_norm = vector,
          .query_key_value = linear,
          .query_norm = {},
          .key_norm = {},
          .attention_output = linear,
          .feed_forward_norm = vector,
          .gate_up = linear,
          .down = linear};
}

// The copies of a CUDA device and their events need one; the order of layers does not.
TEST(LayerStreamTest, LayersComeInOrderAgainAndAgain) {
  LayerStream stream(at::kCPU);
  for (int index = 0; index < 5; ++index) stream.add(layer_of(index));
  for (int document = 0; document < 3; ++document) {
    for (int index = 0; index < 5; ++index) {
      const LayerWeights layer = stream.take(index);
      EXPECT_EQ(layer.down.weight.sum().item<double>(), 4.0 * index);
      EXPECT_FALSE(layer.down.bias.defined());
    }
  }
}

TEST(LayerStreamTest, DocumentThatWasBrokenOffDoesNotShiftTheNext) {
  LayerStream stream(at::kCPU);
  for (int index = 0; index < 4; ++index) stream.add(layer_of(index));
  for (const int index : {0, 1, 0, 1, 2, 3, 0, 0}) {
    EXPECT_EQ(stream.take(index).attention_norm.sum().item<double>(), 2.0 * index);
  }
}

TEST(LayerStreamTest, ModelOfOneLayerIsStreamed) {
  LayerStream stream(at::kCPU);
  stream.add(layer_of(3.0));
  for (int document = 0; document < 3; ++document) {
    EXPECT_EQ(stream.take(0).attention_norm.sum().item<double>(), 6.0);
  }
}

}  // namespace
}  // namespace longrope
