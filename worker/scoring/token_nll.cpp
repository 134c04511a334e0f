#include "worker/scoring/token_nll.h"

#include "worker/kernels/tile_sizes.h"
#include "worker/model/cuda_placement.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kRowsPerTask = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::int64_t tiles(std::int64_t count, std::int64_t tile) { return (count + tile - 1) / tile; }

LogitTileSize tile_on(const Placement& placement) {
  return placement.device.is_cuda() ? kDeviceLogitTile : kHostLogitTile;
}

/// The arguments of token_nll.
struct Request {
  const MatrixRows& hidden;
  const OutputProjection& head;
  std::int64_t vocabulary;
  const at::Tensor& targets;
  const Placement& placement;
  const std::function<void()>& tile_finished;

  [[nodiscard]] std::int64_t rows() const { return targets.size(0); }
};

/// Calls take(logits, first row, first column) for every tile of logits, in the order of columns for each row.
template <typename Take>
void for_each_tile(const Request& request, const Take& take) {
  const std::int64_t rows = request.rows();
  const Placement& placement = request.placement;
  const LogitTileSize tile = tile_on(placement);
  const at::Tensor buffer = at::empty({std::min(rows, tile.rows), std::min(request.vocabulary, tile.columns)},
                                      at::TensorOptions().dtype(placement.arithmetic).device(placement.device));
  // Vocabulary outermost: each part of the matrix is read, or made ready to be computed with, once per document.
  for (std::int64_t first = 0; first < request.vocabulary; first += tile.columns) {
    const std::int64_t width = std::min(tile.columns, request.vocabulary - first);
    const Projection projection = request.head(first, width);
    for (std::int64_t begin = 0; begin < rows; begin += tile.rows) {
      const std::int64_t count = std::min(tile.rows, rows - begin);
      const at::Tensor logits = buffer.view({-1}).narrow(0, 0, count * width).view({count, width});
      projection.write(request.hidden(begin, count), logits);
      if constexpr (std::is_invocable_v<Take, const at::Tensor&, std::int64_t, std::int64_t, const Projection&>) {
        take(logits, begin, first, projection);
      } else {
        take(logits, begin, first);
      }
      request.tile_finished();
    }
  }
}

/// `targets` are those of the request, in host memory.
TokenScores scores_of(const std::vector<LogitState>& states, const at::Tensor& targets) {
  const std::int64_t rows = targets.size(0);
  const TokenScores scores{.nll = at::empty({rows}, at::TensorOptions().dtype(at::kFloat)),
                           .is_argmax = at::empty({rows}, at::TensorOptions().dtype(at::kBool)),
                           .log_sums = at::empty({rows}, at::TensorOptions().dtype(at::kFloat))};
  for (std::int64_t row = 0; row < rows; ++row) {
    const LogitState& state = states[static_cast<std::size_t>(row)];
    scores.nll.data_ptr<float>()[row] = negative_log_likelihood(state);
    scores.log_sums.data_ptr<float>()[row] = log_sum(state);
    scores.is_argmax.data_ptr<bool>()[row] = state.argmax == targets.const_data_ptr<std::int64_t>()[row];
  }
  return scores;
}

TokenScores score_on_cpu(const CpuKernels& kernels, const Request& request) {
  const auto* const target = request.targets.const_data_ptr<std::int64_t>();
  std::vector<LogitState> states(static_cast<std::size_t>(request.rows()), no_logits());
  for_each_tile(request, [&](const at::Tensor& logits, std::int64_t begin, std::int64_t first) {
    at::parallel_for(0, logits.size(0), kRowsPerTask, [&](std::int64_t from, std::int64_t to) {
      kernels.add_logits({logits.const_data_ptr<float>() + from * logits.stride(0), logits.stride(0), to - from}, first,
                         logits.size(1), target + begin + from, states.data() + begin + from);
    });
  });
  return scores_of(states, request.targets);
}

TokenScores score_on_cuda(const CudaKernels& kernels, const Request& request) {
  std::vector<LogitState> states(static_cast<std::size_t>(request.rows()), no_logits());
  const at::Tensor host_bytes = at::from_blob(
      states.data(), {request.rows() * static_cast<std::int64_t>(sizeof(LogitState))}, at::TensorOptions(at::kByte));
  const at::Device device = request.targets.device();
  const at::Tensor device_bytes = host_bytes.to(device);
  auto* const device_states = reinterpret_cast<LogitState*>(device_bytes.data_ptr<std::uint8_t>());
  const c10::DeviceGuard guard(device);
  for_each_tile(request, [&](const at::Tensor& logits, std::int64_t begin, std::int64_t first) {
    kernels.add_logits({.logits = logits.const_data_ptr(),
                        .type = element_type(logits),
                        .stride = logits.stride(0),
                        .rows = logits.size(0),
                        .columns = logits.size(1),
                        .first_column = first,
                        .targets = request.targets.const_data_ptr<std::int64_t>() + begin,
                        .states = device_states + begin},
                       current_stream(device));
  });
  host_bytes.copy_(device_bytes);
  return scores_of(states, request.targets.cpu());
}

TokenScores score_with_torch(const Request& request) {
  const std::int64_t rows = request.rows();
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat).device(request.placement.device);
  const at::Tensor largest = at::full({rows}, -kInfinity, options);
  const at::Tensor exponentials = at::zeros({rows}, options);
  const at::Tensor target_logits = at::zeros({rows}, options);
  const at::Tensor is_argmax = at::zeros({rows}, options.dtype(at::kBool));
  for_each_tile(request, [&](const at::Tensor& product, std::int64_t begin, std::int64_t first) {
    const std::int64_t count = product.size(0);
    const at::Tensor logits = product.to(at::kFloat);
    const at::Tensor column = request.targets.narrow(0, begin, count) - first;
    const at::Tensor here = column.ge(0).logical_and_(column.lt(logits.size(1)));
    const at::Tensor chosen = logits.gather(1, column.clamp(0, logits.size(1) - 1).unsqueeze(1)).squeeze(1);
    const at::Tensor target_rows = target_logits.narrow(0, begin, count);
    target_rows.copy_(at::where(here, chosen, target_rows));

    const at::Tensor largest_rows = largest.narrow(0, begin, count);
    const at::Tensor exponential_rows = exponentials.narrow(0, begin, count);
    const auto [tile_largest, tile_argmax] = logits.max(1);
    // A later tile has higher ids: it must be larger, not equal.
    const at::Tensor argmax_rows = is_argmax.narrow(0, begin, count);
    argmax_rows.copy_(at::where(tile_largest.gt(largest_rows), tile_argmax.eq(column), argmax_rows));
    const at::Tensor new_largest = at::maximum(largest_rows, tile_largest);
    exponential_rows.mul_(at::exp(largest_rows - new_largest)).add_((logits - new_largest.unsqueeze(1)).exp_().sum(1));
    largest_rows.copy_(new_largest);
  });
  const at::Tensor log_sums = largest + exponentials.log();
  return {.nll = log_sums - target_logits, .is_argmax = is_argmax, .log_sums = log_sums};
}

}  // namespace

std::int64_t token_nll_tiles(std::int64_t rows, std::int64_t vocabulary, const Placement& placement) {
  const LogitTileSize tile = tile_on(placement);
  return tiles(rows, tile.rows) * tiles(vocabulary, tile.columns);
}

TokenScores token_nll(const MatrixRows& hidden, const OutputProjection& head, std::int64_t vocabulary,
                      const at::Tensor& targets, const Placement& placement,
                      const std::function<void()>& tile_finished) {
  const Request request{hidden, head, vocabulary, targets, placement, tile_finished};
  if (const CpuKernels* const kernels = kernels_for(placement)) {
    return score_on_cpu(*kernels, request);
  }
  if (const CudaKernels* const kernels = cuda_kernels_for(placement.device)) return score_on_cuda(*kernels, request);
  return score_with_torch(request);
}

at::Tensor token_nll_gradient(const MatrixRows& hidden, const OutputProjection& head, std::int64_t vocabulary,
                              const at::Tensor& targets, const at::Tensor& log_sums, const Placement& placement,
                              const std::function<void()>& tile_finished) {
  const Request request{hidden, head, vocabulary, targets, placement, tile_finished};
  const auto* const target = targets.const_data_ptr<std::int64_t>();
  const auto* const log_sum = log_sums.const_data_ptr<float>();
  at::Tensor gradient;
  std::int64_t part = -1;
  std::optional<Projection> back;
  for_each_tile(request,
                [&](const at::Tensor& logits, std::int64_t begin, std::int64_t first, const Projection& projection) {
                  if (part != first) back = projection.transposed();
                  part = first;
                  at::parallel_for(0, logits.size(0), kRowsPerTask, [&](std::int64_t from, std::int64_t to) {
                    for (std::int64_t row = from; row < to; ++row) {
                      float* const values = logits.data_ptr<float>() + row * logits.stride(0);
                      const float sum = log_sum[begin + row];
                      for (std::int64_t column = 0; column < logits.size(1); ++column) {
                        values[column] = std::exp(values[column] - sum);
                      }
                      const std::int64_t own = target[begin + row] - first;
                      if (own >= 0 && own < logits.size(1)) values[own] -= 1.0F;
                    }
                  });
                  if (!gradient.defined()) {
                    gradient = at::zeros({request.rows(), hidden(0, 1).size(1)}, logits.options());
                  }
                  back->add(logits, gradient.narrow(0, begin, logits.size(0)));
                });
  return gradient;
}

}  // namespace longrope
