#include "worker/model/row_gradients.h"

#include "worker/kernels/tile_sizes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <variant>

namespace longrope {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

const float* row_of(const at::Tensor& tensor, std::int64_t row) {
  return tensor.const_data_ptr<float>() + row * tensor.stride(0);
}
float* row_to(const at::Tensor& tensor, std::int64_t row) { return tensor.data_ptr<float>() + row * tensor.stride(0); }

template <typename Row>
void for_each_row(std::int64_t rows, const Row& run) {
  at::parallel_for(0, rows, kRowsPerTask, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) run(row);
  });
}

/// Adds what one token contributes to [pairs] of d/d ln λ, and returns its part of d/d ln m.
template <typename Real>
double add_token(const float* rotated, const float* gradient, std::int64_t heads, std::int64_t head_dim,
                 const RotaryAngles<Real>& angles, std::int64_t pairs, std::int64_t position, double* log_lambda) {
  double log_attention = 0.0;
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    double turned = 0.0;
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t x = head * head_dim + pair;
      const std::int64_t y = x + pairs;
      turned += static_cast<double>(gradient[y]) * rotated[x] - static_cast<double>(gradient[x]) * rotated[y];
      log_attention += static_cast<double>(gradient[x]) * rotated[x] + static_cast<double>(gradient[y]) * rotated[y];
    }
    log_lambda[pair] -= static_cast<double>(rotary_angle(angles, position, pair)) * turned;
  }
  return log_attention;
}

}  // namespace

void rms_norm_gradient(const at::Tensor& in, const at::Tensor& weight, double epsilon, const at::Tensor& out_gradient,
                       Accumulate accumulate, const at::Tensor& gradient) {
  const std::int64_t width = in.size(1);
  const auto* const scale = weight.const_data_ptr<float>();
  for_each_row(in.size(0), [&](std::int64_t row) {
    const float* const x = row_of(in, row);
    const float* const g = row_of(out_gradient, row);
    float* const out = row_to(gradient, row);
    double squares = 0.0;
    double product = 0.0;
    for (std::int64_t i = 0; i < width; ++i) {
      squares += static_cast<double>(x[i]) * x[i];
      product += static_cast<double>(x[i]) * scale[i] * g[i];
    }
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    const auto own = static_cast<float>(inverse);
    const auto common = static_cast<float>(product * inverse * inverse * inverse / static_cast<double>(width));
    for (std::int64_t i = 0; i < width; ++i) {
      const float found = own * scale[i] * g[i] - common * x[i];
      out[i] = accumulate == Accumulate::kYes ? out[i] + found : found;
    }
  });
}

void gate_gradient(const at::Tensor& gate_up, const at::Tensor& out_gradient, const at::Tensor& gradient) {
  const std::int64_t width = out_gradient.size(1);
  for_each_row(out_gradient.size(0), [&](std::int64_t row) {
    const float* const gate = row_of(gate_up, row);
    const float* const g = row_of(out_gradient, row);
    float* const out = row_to(gradient, row);
    for (std::int64_t i = 0; i < width; ++i) {
      const float a = gate[i];
      const float up = gate[width + i];
      const float sigmoid = 1.0F / (1.0F + std::exp(-a));
      out[i] = g[i] * up * sigmoid * (1.0F + a * (1.0F - sigmoid));
      out[width + i] = g[i] * a * sigmoid;
    }
  });
}

void add_factor_gradient(const at::Tensor& rotated, const at::Tensor& gradient, const RotaryFrequencies& frequencies,
                         FactorGradient& sums) {
  const std::int64_t tokens = rotated.size(0);
  const auto pairs = static_cast<std::int64_t>(frequencies.pairs());
  const std::int64_t pieces = (tokens + kAttentionPieceTokens - 1) / kAttentionPieceTokens;
  // Each piece has sums of its own, [pairs] and one for m, which are then added up in order.
  std::vector<double> partial(static_cast<std::size_t>(pieces * (pairs + 1)));
  std::visit(
      [&](const auto& angles) {
        at::parallel_for(0, pieces, 1, [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t piece = first; piece < last; ++piece) {
            double* const log_lambda = partial.data() + piece * (pairs + 1);
            // Positions before n̂ have neither λ nor m.
            const std::int64_t begin = std::max(piece * kAttentionPieceTokens, angles.n_hat);
            const std::int64_t end = std::min(tokens, (piece + 1) * kAttentionPieceTokens);
            for (std::int64_t position = begin; position < end; ++position) {
              log_lambda[pairs] += add_token(row_of(rotated, position), row_of(gradient, position), rotated.size(1),
                                             rotated.size(2), angles, pairs, position, log_lambda);
            }
          }
        });
      },
      frequencies.angles());
  sums.log_lambda.resize(static_cast<std::size_t>(pairs));
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const double* const found = partial.data() + piece * (pairs + 1);
    for (std::int64_t pair = 0; pair < pairs; ++pair) sums.log_lambda[static_cast<std::size_t>(pair)] += found[pair];
    sums.log_attention += found[pairs];
  }
}

}  // namespace longrope
