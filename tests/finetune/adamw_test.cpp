#include "finetune/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace longrope {
namespace {

/// One leaf with a gradient.
NamedTensor parameter(const char* name, const at::Tensor& values, const at::Tensor& gradient) {
  at::Tensor leaf = values.clone().requires_grad_();
  leaf.mutable_grad() = gradient.clone();
  return {name, leaf};
}

/// The algorithm of the paper for one number, in double precision.
struct ReferenceAdamW {
  double value;
  double first = 0.0;
  double second = 0.0;
  int updates = 0;

  void update(double gradient, double rate, const AdamWOptions& options, double decay) {
    ++updates;
    value -= rate * decay * value;
    first = options.beta1 * first + (1.0 - options.beta1) * gradient;
    second = options.beta2 * second + (1.0 - options.beta2) * gradient * gradient;
    const double corrected_first = first / (1.0 - std::pow(options.beta1, updates));
    const double corrected_second = second / (1.0 - std::pow(options.beta2, updates));
    value -= rate * corrected_first / (std::sqrt(corrected_second) + options.epsilon);
  }
};

TEST(AdamWTest, UpdatesAreThoseOfThePaper) {
  const AdamWOptions options{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.1};
  const NamedTensor matrix = parameter("matrix", at::full({2, 3}, 0.5), at::zeros({2, 3}));
  AdamW optimizer({matrix}, options);
  ReferenceAdamW reference{.value = 0.5};
  for (const double gradient : {1.0, -2.0, 0.25, 0.25}) {
    matrix.tensor.mutable_grad().fill_(gradient);
    optimizer.update(0.01);
    reference.update(gradient, 0.01, options, options.weight_decay);
    EXPECT_NEAR(matrix.tensor.detach()[1][2].item<double>(), reference.value, 1e-6);
  }
  EXPECT_EQ(optimizer.updates(), 4);
}

TEST(AdamWTest, VectorsDoNotDecay) {
  const NamedTensor norm = parameter("norm", at::ones({4}), at::zeros({4}));
  const NamedTensor matrix = parameter("matrix", at::ones({4, 4}), at::zeros({4, 4}));
  AdamW({norm, matrix}, {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1}).update(0.5);
  EXPECT_EQ(norm.tensor.detach()[0].item<double>(), 1.0);
  EXPECT_NEAR(matrix.tensor.detach()[0][0].item<double>(), 0.95, 1e-6);
}

TEST(AdamWTest, GradientsAreZeroAfterAnUpdate) {
  const NamedTensor weight = parameter("weight", at::ones({4}), at::ones({4}));
  AdamW({weight}, adamw_options({})).update(0.5);
  EXPECT_EQ(weight.tensor.grad().abs().max().item<double>(), 0.0);
}

TEST(AdamWTest, ClippingScalesAllGradientsByTheirCommonNorm) {
  const NamedTensor first = parameter("first", at::zeros({1}), at::full({1}, 3.0));
  const NamedTensor second = parameter("second", at::zeros({2, 2}), at::full({2, 2}, 2.0));
  const AdamW optimizer({first, second}, {});
  EXPECT_NEAR(optimizer.clip_gradients(0.0), 5.0, 1e-6);
  EXPECT_EQ(first.tensor.grad().item<double>(), 3.0);
  EXPECT_NEAR(optimizer.clip_gradients(10.0), 5.0, 1e-6);
  EXPECT_EQ(first.tensor.grad().item<double>(), 3.0);
  EXPECT_NEAR(optimizer.clip_gradients(1.0), 5.0, 1e-6);
  EXPECT_NEAR(first.tensor.grad().item<double>(), 0.6, 1e-6);
  EXPECT_NEAR(second.tensor.grad()[0][1].item<double>(), 0.4, 1e-6);
}

TEST(AdamWTest, AnOptimizerFilledWithTheStateOfAnotherGoesOnWithItsBits) {
  at::manual_seed(3);
  const auto gradient_of = [](const NamedTensor& weight, std::uint64_t update) {
    at::manual_seed(update);
    weight.tensor.mutable_grad().copy_(at::randn({8, 8}));
  };
  const NamedTensor weight = parameter("weight", at::randn({8, 8}), at::zeros({8, 8}));
  AdamW whole({weight}, {});
  const auto go_on = [&](AdamW& optimizer, const NamedTensor& of, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t update = from; update < to; ++update) {
      gradient_of(of, update);
      optimizer.update(0.01);
    }
  };
  go_on(whole, weight, 0, 3);
  const NamedTensor other = parameter("weight", at::zeros({8, 8}), at::zeros({8, 8}));
  AdamW continued({other}, {});
  for (std::size_t index = 0; index < whole.state().size(); ++index) {
    continued.state()[index].tensor.copy_(whole.state()[index].tensor);
  }
  continued.resume_at(whole.updates());
  go_on(whole, weight, 3, 6);
  go_on(continued, other, 3, 6);
  EXPECT_TRUE(at::equal(weight.tensor, other.tensor));
}

}  // namespace
}  // namespace longrope
