#pragma once

// Bodies of the kernels that take one row at a time; see cpu_kernels.h for what they compute.

#include "worker/kernels/cpu_kernels.h"
#include "worker/kernels/instruction_sets.h"

#include <limits>

namespace longrope {

/// Calls process(first, count) for every 16 columns; count < 16 for the last ones.
template <typename Process>
void for_each_panel(std::int64_t width, const Process& process) {
  for (std::int64_t first = 0; first < width; first += kPanelColumns) {
    process(first, width - first < kPanelColumns ? width - first : kPanelColumns);
  }
}

/// Up to 16 values, filled up with `fill`: the last columns go through the same instructions as all others.
template <typename Isa>
typename Isa::Panel load_some(const float* from, std::int64_t count, float fill = 0.0F) {
  if (count == kPanelColumns) return Isa::load(from);
  float lanes[kPanelColumns];
  for (std::int64_t lane = 0; lane < kPanelColumns; ++lane) lanes[lane] = lane < count ? from[lane] : fill;
  return Isa::load(lanes);
}

template <typename Isa>
void store_some(float* to, typename Isa::Panel value, std::int64_t count) {
  if (count == kPanelColumns) {
    Isa::store(to, value);
    return;
  }
  float lanes[kPanelColumns];
  Isa::store(lanes, value);
  for (std::int64_t lane = 0; lane < count; ++lane) to[lane] = lanes[lane];
}

template <typename Isa>
void rms_norm(const ConstRows& in, std::int64_t width, const float* weight, float epsilon, const Rows& out) {
  for (std::int64_t row = 0; row < in.rows; ++row) {
    const float* const from = in.data + row * in.stride;
    float* const to = out.data + row * out.stride;
    typename Isa::Panel squares = Isa::broadcast(0.0F);
    for_each_panel(width, [&](std::int64_t first, std::int64_t count) {
      const typename Isa::Panel value = load_some<Isa>(from + first, count);
      squares = Isa::multiply_add(value, value, squares);
    });
    const float mean = sum_of<Isa>(squares) / static_cast<float>(width);
    const typename Isa::Panel scale = Isa::broadcast(1.0F / __builtin_sqrtf(mean + epsilon));
    for_each_panel(width, [&](std::int64_t first, std::int64_t count) {
      const typename Isa::Panel normed = Isa::multiply(load_some<Isa>(from + first, count), scale);
      store_some<Isa>(to + first, Isa::multiply(normed, load_some<Isa>(weight + first, count)), count);
    });
  }
}

template <typename Isa>
void rotate(const Rows& rows, std::int64_t count, std::int64_t heads, std::int64_t head_dim, const float* cos,
            const float* sin, std::int64_t pairs) {
  for (std::int64_t row = 0; row < count; ++row) {
    for (std::int64_t head = 0; head < heads; ++head) {
      float* const channels = rows.data + row * rows.stride + head * head_dim;
      for_each_panel(pairs, [&](std::int64_t first, std::int64_t lanes) {
        const typename Isa::Panel cosine = load_some<Isa>(cos + row * pairs + first, lanes);
        const typename Isa::Panel sine = load_some<Isa>(sin + row * pairs + first, lanes);
        const typename Isa::Panel a = load_some<Isa>(channels + first, lanes);
        const typename Isa::Panel b = load_some<Isa>(channels + pairs + first, lanes);
        store_some<Isa>(channels + first, Isa::subtract(Isa::multiply(a, cosine), Isa::multiply(b, sine)), lanes);
        store_some<Isa>(channels + pairs + first, Isa::add(Isa::multiply(b, cosine), Isa::multiply(a, sine)), lanes);
      });
    }
  }
}

template <typename Isa>
void gate(const ConstRows& gate_up, std::int64_t width, const Rows& out) {
  const typename Isa::Panel one = Isa::broadcast(1.0F);
  const typename Isa::Panel zero = Isa::broadcast(0.0F);
  for (std::int64_t row = 0; row < gate_up.rows; ++row) {
    const float* const from = gate_up.data + row * gate_up.stride;
    for_each_panel(width, [&](std::int64_t first, std::int64_t count) {
      const typename Isa::Panel value = load_some<Isa>(from + first, count);
      const typename Isa::Panel denominator = Isa::add(one, exponential<Isa>(Isa::subtract(zero, value)));
      const typename Isa::Panel up = load_some<Isa>(from + width + first, count);
      store_some<Isa>(out.data + row * out.stride + first, Isa::multiply(Isa::divide(value, denominator), up), count);
    });
  }
}

template <typename Isa>
void add_logits(const ConstRows& logits, std::int64_t first_column, std::int64_t columns, const std::int64_t* targets,
                LogitState* states) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::int64_t row = 0; row < logits.rows; ++row) {
    const float* const from = logits.data + row * logits.stride;
    LogitState& state = states[row];
    const std::int64_t target = targets[row] - first_column;
    if (target >= 0 && target < columns) state.target_logit = from[target];

    typename Isa::Panel highest = Isa::broadcast(-kInfinity);
    for_each_panel(columns, [&](std::int64_t first, std::int64_t count) {
      highest = Isa::maximum(highest, load_some<Isa>(from + first, count, -kInfinity));
    });
    const float largest_here = largest_of<Isa>(highest);
    const float old_largest = state.largest;
    if (largest_here > old_largest) {
      state.largest = largest_here;
      for (std::int64_t column = 0; column < columns; ++column) {
        if (from[column] == largest_here) {
          state.argmax = static_cast<std::int32_t>(first_column + column);
          break;
        }
      }
    }
    const typename Isa::Panel offset = Isa::broadcast(state.largest);
    typename Isa::Panel total = Isa::broadcast(0.0F);
    for_each_panel(columns, [&](std::int64_t first, std::int64_t count) {
      const typename Isa::Panel logit = load_some<Isa>(from + first, count, -kInfinity);
      total = Isa::add(total, exponential<Isa>(Isa::subtract(logit, offset)));
    });
    float kept[kPanelColumns];
    Isa::store(kept, exponential<Isa>(Isa::broadcast(old_largest - state.largest)));
    state.exponentials = state.exponentials * kept[0] + sum_of<Isa>(total);
  }
}

}  // namespace longrope
