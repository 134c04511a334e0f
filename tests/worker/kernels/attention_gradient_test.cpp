#include "tests/worker/kernels/kernel_inputs.h"
#include "worker/kernels/cpu_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <vector>

namespace longrope {
namespace {

struct GradientCase {
  std::int64_t tokens;
  std::int64_t heads;
  std::int64_t head_dim;
  std::int64_t window;

  [[nodiscard]] std::int64_t width() const { return heads * head_dim; }
  [[nodiscard]] double scale() const { return 1.0 / std::sqrt(static_cast<double>(head_dim)); }
};
std::ostream& operator<<(std::ostream& out, const GradientCase& shape) {
  return out << shape.tokens << " tokens, " << shape.heads << " heads of " << shape.head_dim << ", window "
             << shape.window;
}

/// The numbers that go in, and gradients of Σ out∘out_gradient.
struct Attended {
  explicit Attended(const GradientCase& shape)
      : query(random_values(shape.tokens * shape.width(), 1)),
        key(random_values(shape.tokens * shape.head_dim, 2)),
        value(random_values(shape.tokens * shape.head_dim, 3)),
        out_gradient(random_values(shape.tokens * shape.width(), 4)) {}

  std::vector<float> query;
  std::vector<float> key;
  std::vector<float> value;
  std::vector<float> out_gradient;
};

template <typename Number>
struct Gradients {
  explicit Gradients(const GradientCase& shape)
      : query(static_cast<std::size_t>(shape.tokens * shape.width())),
        key(static_cast<std::size_t>(shape.tokens * shape.head_dim)),
        value(key.size()) {}
  std::vector<Number> query;
  std::vector<Number> key;
  std::vector<Number> value;
};

/// By the formulas, a whole row of softmax at a time, in double precision.
Gradients<double> expected_gradients(const GradientCase& shape, const Attended& in) {
  Gradients<double> gradients(shape);
  const auto number = [](const std::vector<float>& values, std::int64_t index) {
    return static_cast<double>(values[static_cast<std::size_t>(index)]);
  };
  const auto size = static_cast<std::size_t>(shape.tokens);
  for (std::int64_t head = 0; head < shape.heads; ++head) {
    for (std::int64_t token = 0; token < shape.tokens; ++token) {
      const std::int64_t row = token * shape.width() + head * shape.head_dim;
      const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(0, token + 1 - shape.window) : 0;
      std::vector<double> weights(size);
      std::vector<double> weight_gradients(size);
      double total = 0.0;
      for (std::int64_t position = first; position <= token; ++position) {
        const auto at = static_cast<std::size_t>(position);
        double score = 0.0;
        for (std::int64_t c = 0; c < shape.head_dim; ++c) {
          score += number(in.query, row + c) * number(in.key, position * shape.head_dim + c);
          weight_gradients[at] += number(in.out_gradient, row + c) * number(in.value, position * shape.head_dim + c);
        }
        weights[at] = std::exp(score * shape.scale());
        total += weights[at];
      }
      double mean = 0.0;
      for (std::size_t at = 0; at < size; ++at) {
        weights[at] /= total;
        mean += weights[at] * weight_gradients[at];
      }
      for (std::int64_t position = first; position <= token; ++position) {
        const auto at = static_cast<std::size_t>(position);
        const double score_gradient = shape.scale() * weights[at] * (weight_gradients[at] - mean);
        for (std::int64_t c = 0; c < shape.head_dim; ++c) {
          const std::int64_t cell = position * shape.head_dim + c;
          gradients.query[static_cast<std::size_t>(row + c)] += score_gradient * number(in.key, cell);
          gradients.key[static_cast<std::size_t>(cell)] += score_gradient * number(in.query, row + c);
          gradients.value[static_cast<std::size_t>(cell)] += weights[at] * number(in.out_gradient, row + c);
        }
      }
    }
  }
  return gradients;
}

Gradients<float> gradients(const CpuKernels& kernels, const GradientCase& shape, const Attended& in) {
  const ConstRows key{in.key.data(), shape.head_dim, shape.tokens};
  const ConstRows value{in.value.data(), shape.head_dim, shape.tokens};
  const ConstRows query{in.query.data(), shape.width(), shape.tokens};
  const HeadCache cache(kernels, in.key, in.value, shape.head_dim, shape.tokens);
  std::vector<float> out(in.query.size());
  std::vector<float> log_sums(static_cast<std::size_t>(shape.tokens * shape.heads));
  kernels.attend({.query = query,
                  .heads = shape.heads,
                  .head_dim = shape.head_dim,
                  .keys = cache.keys().data(),
                  .values = cache.values().data(),
                  .window = shape.window,
                  .scale = static_cast<float>(shape.scale()),
                  .out = {out.data(), shape.width()},
                  .log_sums = {log_sums.data(), shape.heads}});
  Gradients<float> result(shape);
  kernels.attend_backward({.query = query,
                           .key = key,
                           .value = value,
                           .out = {out.data(), shape.width(), shape.tokens},
                           .log_sums = {log_sums.data(), shape.heads, shape.tokens},
                           .out_gradient = {in.out_gradient.data(), shape.width(), shape.tokens},
                           .heads = shape.heads,
                           .head_dim = shape.head_dim,
                           .window = shape.window,
                           .scale = static_cast<float>(shape.scale()),
                           .query_gradient = {result.query.data(), shape.width()},
                           .key_gradient = {result.key.data(), shape.head_dim},
                           .value_gradient = {result.value.data(), shape.head_dim}});
  return result;
}

/// √(Σ (a − b)² / Σ b²)
double relative_error(const std::vector<float>& a, const std::vector<double>& b) {
  double difference = 0.0;
  double size = 0.0;
  for (std::size_t index = 0; index < a.size(); ++index) {
    difference += std::pow(static_cast<double>(a[index]) - b[index], 2);
    size += b[index] * b[index];
  }
  return std::sqrt(difference / size);
}

// Around tiles of 96 keys, blocks of 256 queries, groups of 12; every head_dim of the known families; one key-value
// head for one query head and for several; windows.
const std::vector<GradientCase> kShapes = {{2, 1, 64, 0},    {13, 3, 6, 0},    {97, 1, 80, 0},  {257, 2, 96, 0},
                                           {300, 4, 128, 0}, {270, 1, 256, 0}, {530, 3, 64, 0}, {200, 2, 64, 1},
                                           {300, 1, 64, 33}, {601, 2, 16, 257}};

TEST(AttentionGradientTest, EveryInstructionSetAgreesWithDoublePrecision) {
  for (const GradientCase& shape : kShapes) {
    const Attended in(shape);
    const Gradients<double> expected = expected_gradients(shape, in);
    for (const CpuKernels* const kernels : available_kernels()) {
      // float32: 1e-6 of some hundred terms; bfloat16: weights and their gradients are rounded to 2^-8, errors average
      // out.
      const double tolerance = kernels->operands == OperandType::kFloat32 ? 5e-6 : 6e-3;
      const auto expect_near = [&](const std::vector<float>& found, const std::vector<double>& exact,
                                   const char* name) {
        EXPECT_LT(relative_error(found, exact), tolerance) << name << ": " << kernels->instruction_set << ", " << shape;
      };
      const Gradients<float> found = gradients(*kernels, shape, in);
      expect_near(found.value, expected.value, "values");
      if (shape.window == 1) continue;  // one weight, which is 1 whatever the score: nothing else has a gradient
      expect_near(found.query, expected.query, "queries");
      expect_near(found.key, expected.key, "keys");
    }
  }
}

TEST(AttentionGradientTest, LogSumsAreThoseOfTheScores) {
  const GradientCase shape{40, 2, 16, 0};
  const Attended in(shape);
  const std::int64_t token = 33;
  const std::int64_t head = 1;
  double total = 0.0;
  for (std::int64_t position = 0; position <= token; ++position) {
    double score = 0.0;
    for (std::int64_t c = 0; c < shape.head_dim; ++c) {
      score += static_cast<double>(in.query[static_cast<std::size_t>(token * shape.width() + head * 16 + c)]) *
               static_cast<double>(in.key[static_cast<std::size_t>(position * 16 + c)]);
    }
    total += std::exp(score * shape.scale());
  }
  for (const CpuKernels* const kernels : available_kernels()) {
    const HeadCache cache(*kernels, in.key, in.value, shape.head_dim, shape.tokens);
    std::vector<float> out(in.query.size());
    std::vector<float> log_sums(80);
    kernels->attend({.query = {in.query.data(), shape.width(), 40},
                     .heads = 2,
                     .head_dim = 16,
                     .keys = cache.keys().data(),
                     .values = cache.values().data(),
                     .scale = static_cast<float>(shape.scale()),
                     .out = {out.data(), shape.width()},
                     .log_sums = {log_sums.data(), 2}});
    const double tolerance = kernels->operands == OperandType::kFloat32 ? 1e-5 : 2e-2;
    EXPECT_NEAR(static_cast<double>(log_sums[static_cast<std::size_t>(token * 2 + head)]), std::log(total), tolerance)
        << kernels->instruction_set;
  }
}

}  // namespace
}  // namespace longrope
