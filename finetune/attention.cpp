#include "finetune/attention.h"

#include "common/error.h"
#include "worker/model/fused_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>
#include <vector>

namespace longrope {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A tensor [B, T, heads, D] as float32, heads side by side.
at::Tensor numbers(const at::Tensor& heads) { return heads.to(at::kFloat).contiguous(); }

/// One key-value head of one sequence, and the query heads that read it.
struct Place {
  std::int64_t sequence;
  std::int64_t head;
  std::int64_t group;  // query heads of a key-value head

  /// Its rows of a contiguous tensor [B, T, K, D].
  [[nodiscard]] Rows key_rows(const at::Tensor& tensor) const { return rows(tensor, head); }
  /// Its rows of a contiguous tensor [B, T, H, ·].
  [[nodiscard]] Rows query_rows(const at::Tensor& tensor) const { return rows(tensor, head * group); }

 private:
  [[nodiscard]] Rows rows(const at::Tensor& tensor, std::int64_t first) const {
    return {tensor.data_ptr<float>() + sequence * tensor.stride(0) + first * tensor.stride(2), tensor.stride(1)};
  }
};

template <typename Run>
void for_each_place(const at::Tensor& queries, const at::Tensor& keys, const Run& run) {
  const std::int64_t heads = keys.size(2);
  at::parallel_for(0, queries.size(0) * heads, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t task = first; task < last; ++task) {
      run(Place{task / heads, task % heads, queries.size(2) / heads});
    }
  });
}

ConstRows read(const Rows& rows, std::int64_t count) { return {rows.data, rows.stride, count}; }

struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& queries, const at::Tensor& keys,
                            const at::Tensor& values, const CpuKernels* kernels) {
    const at::Tensor query = numbers(queries);
    const at::Tensor key = numbers(keys);
    const at::Tensor value = numbers(values);
    const at::Tensor out = at::empty_like(query);
    const at::Tensor log_sums = at::empty({query.size(0), query.size(1), query.size(2), 1}, query.options());
    const std::int64_t tokens = query.size(1);
    const std::int64_t head_dim = query.size(3);
    const auto operands = [](std::int64_t count) { return std::vector<std::int32_t>(static_cast<std::size_t>(count)); };
    for_each_place(query, key, [&](const Place& place) {
      auto kept_keys = operands(key_operands(kernels->operands, tokens, head_dim));
      auto kept_values = operands(value_operands(kernels->operands, tokens, head_dim));
      kernels->store_keys({read(place.key_rows(key), tokens), 0, head_dim, kept_keys.data()});
      kernels->store_values({read(place.key_rows(value), tokens), 0, head_dim, kept_values.data()});
      kernels->attend({.query = read(place.query_rows(query), tokens),
                       .heads = place.group,
                       .head_dim = head_dim,
                       .keys = kept_keys.data(),
                       .values = kept_values.data(),
                       .scale = attention_scale(query.size(3)),
                       .out = place.query_rows(out),
                       .log_sums = place.query_rows(log_sums)});
    });
    const at::Tensor result = out.to(queries.scalar_type());
    context->save_for_backward({queries, keys, values, result, log_sums});
    context->saved_data[kKernels] = static_cast<std::int64_t>(kernels->operands);
    return result;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const CpuKernels* const kernels = cpu_kernels(static_cast<OperandType>(context->saved_data[kKernels].toInt()));
    const at::Tensor query = numbers(saved[0]);
    const at::Tensor key = numbers(saved[1]);
    const at::Tensor value = numbers(saved[2]);
    const at::Tensor out = numbers(saved[3]);
    const at::Tensor& log_sums = saved[4];
    const at::Tensor out_gradient = numbers(gradients.front());
    const at::Tensor query_gradient = at::empty_like(query);
    const at::Tensor key_gradient = at::empty_like(key);
    const at::Tensor value_gradient = at::empty_like(value);
    const std::int64_t tokens = query.size(1);
    for_each_place(query, key, [&](const Place& place) {
      kernels->attend_backward({.query = read(place.query_rows(query), tokens),
                                .key = read(place.key_rows(key), tokens),
                                .value = read(place.key_rows(value), tokens),
                                .out = read(place.query_rows(out), tokens),
                                .log_sums = read(place.query_rows(log_sums), tokens),
                                .out_gradient = read(place.query_rows(out_gradient), tokens),
                                .heads = place.group,
                                .head_dim = query.size(3),
                                .scale = attention_scale(query.size(3)),
                                .query_gradient = place.query_rows(query_gradient),
                                .key_gradient = place.key_rows(key_gradient),
                                .value_gradient = place.key_rows(value_gradient)});
    });
    return {query_gradient.to(saved[0].scalar_type()), key_gradient.to(saved[1].scalar_type()),
            value_gradient.to(saved[2].scalar_type()), at::Tensor()};
  }

 private:
  static constexpr const char* kKernels = "kernels";
};

/// On CUDA the kernel is named, so that it is the same on every GPU of a kind; both have a deterministic backward pass.
at::Tensor attended_on_cuda(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  if (query.scalar_type() != at::kFloat) {
    return std::get<0>(at::_scaled_dot_product_flash_attention(query, key, value, 0.0, /*is_causal=*/true));
  }
  // Beyond, the kernel is wrong with a causal mask, and says nothing (pytorch #162588).
  constexpr std::int64_t kMostTokens = 65'536;
  if (query.size(2) > kMostTokens) {
    throw InputError(fmt::format("a training in float32 on a CUDA device takes samples of at most {} tokens: {}",
                                 kMostTokens, query.size(2)));
  }
  const std::int64_t group = query.size(1) / key.size(1);
  return std::get<0>(at::_scaled_dot_product_efficient_attention(query, for_each_query_head(key, 1, group),
                                                                 for_each_query_head(value, 1, group), /*attn_bias=*/{},
                                                                 /*compute_log_sumexp=*/true, 0.0, /*is_causal=*/true));
}

}  // namespace

at::Tensor attended(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                    const CpuKernels* kernels) {
  if (kernels != nullptr) return AttentionFunction::apply(queries, keys, values, kernels);
  const at::Tensor query = queries.transpose(1, 2);
  const at::Tensor key = keys.transpose(1, 2);
  const at::Tensor value = values.transpose(1, 2);
  if (queries.is_cuda()) return attended_on_cuda(query, key, value).transpose(1, 2);
  return at::scaled_dot_product_attention(query, key, value, /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/true,
                                          /*scale=*/std::nullopt, /*enable_gqa=*/queries.size(2) != keys.size(2))
      .transpose(1, 2);
}

}  // namespace longrope
