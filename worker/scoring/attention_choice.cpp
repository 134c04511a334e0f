#include "worker/scoring/attention_choice.h"

#include "common/error.h"
#include "worker/model/cuda_placement.h"
#include "worker/scoring/gpu_driver.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

namespace longrope {
namespace {

// 65,537 keys, and one more than a multiple of 32: pytorch #162588. A single query, as the last tile of a document may
// have. A window that ends between.
constexpr std::array kCases = {AttentionCase{.queries = 512, .keys = 2'049, .window = 0},
                               AttentionCase{.queries = 1, .keys = 4'097, .window = 0},
                               AttentionCase{.queries = 128, .keys = 65'537, .window = 0},
                               AttentionCase{.queries = 300, .keys = 1'500, .window = 700}};

/// Why a kernel is not to be used; nullopt when it is right.
std::optional<std::string> fault_of(const FusedAttention& kernel, const AttentionHeads& heads,
                                    const at::TensorOptions& options) {
  for (const AttentionCase& attention : kCases) {
    try {
      const double error = attention_error(kernel, heads, attention, options);
      if (error < tolerated_attention_error(c10::typeMetaToScalarType(options.dtype()))) continue;
      return fmt::format("wrong by {:.1e} of the largest value at {} keys, window {}", error, attention.keys,
                         attention.window);
    } catch (const c10::Error& error) {
      return fmt::format("it failed at {} keys, window {}: {}", attention.keys, attention.window,
                         error.what_without_backtrace());
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<const FusedAttention*> device_attention(std::int64_t capability, at::ScalarType dtype,
                                                    const AttentionHeads& heads) {
  constexpr std::int64_t kHopper = 90;
  constexpr std::int64_t kBlackwell = 100;
  constexpr std::int64_t kSmallestHead = 8;  // sixteen bytes of bfloat16: what the kernels load at once
  constexpr std::int64_t kLargestHead = 256;
  constexpr std::int64_t kFewHeads = 8;
  if (heads.head_dim % kSmallestHead != 0 || heads.head_dim > kLargestHead) {
    throw InputError(fmt::format("head_dim must be a multiple of {} up to {} on a CUDA device: {}", kSmallestHead,
                                 kLargestHead, heads.head_dim));
  }
  if (dtype == at::kFloat) return {&kMemoryEfficientAttention};
  const bool usual_head = heads.head_dim == 64 || heads.head_dim == 128;
  // On Blackwell cuDNN is wrong with fewer heads (pytorch #193893).
  const bool cudnn =
      usual_head && (capability == kHopper || (capability >= kBlackwell && heads.key_value_heads >= kFewHeads));
  if (cudnn) return {&kCudnnAttention, &kFlashAttention};
  return {&kFlashAttention};
}

at::Tensor exact_attention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                           std::int64_t window) {
  const std::int64_t group = queries.size(1) / keys.size(1);
  const at::TensorOptions positions = queries.options().dtype(at::kLong);
  const at::Tensor key = at::arange(keys.size(0), positions).unsqueeze(0);
  const at::Tensor query = at::arange(keys.size(0) - queries.size(0), keys.size(0), positions).unsqueeze(1);
  at::Tensor hidden = key > query;
  if (window > 0) hidden = hidden.logical_or(key <= query - window);
  const at::Tensor out = at::empty(queries.sizes(), queries.options().dtype(at::kDouble));
  for (std::int64_t head = 0; head < queries.size(1); ++head) {
    const auto part = [](const at::Tensor& tensor, std::int64_t index) {
      return tensor.select(1, index).to(at::kDouble);
    };
    const at::Tensor scores = at::mm(part(queries, head), part(keys, head / group).t())
                                  .div_(std::sqrt(static_cast<double>(queries.size(2))))
                                  .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
    out.select(1, head).copy_(at::mm(at::softmax(scores, 1), part(values, head / group)));
  }
  return out;
}

double attention_error(const FusedAttention& kernel, const AttentionHeads& heads, const AttentionCase& attention,
                       const at::TensorOptions& options) {
  const auto random = [&](std::int64_t rows, std::int64_t count) {
    return at::randn({rows, count, heads.head_dim}, options);
  };
  const at::Tensor queries = random(attention.queries, heads.query_heads);
  const at::Tensor keys = random(attention.keys, heads.key_value_heads);
  const at::Tensor values = random(attention.keys, heads.key_value_heads);
  const at::Tensor exact = exact_attention(queries, keys, values, attention.window);
  const at::Tensor found = attend_causal(kernel, queries, keys, values, attention.window).to(at::kDouble);
  const double error = ((found - exact).abs().max() / exact.abs().max()).item<double>();
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

double tolerated_attention_error(at::ScalarType dtype) {
  constexpr double kFloat32 = 1e-3;   // products of reduced precision (TF32) would pass, a wrong mask does not
  constexpr double kBfloat16 = 0.05;  // weights and result are rounded to eight bits
  return dtype == at::kFloat ? kFloat32 : kBfloat16;
}

AttentionChoice first_right_attention(std::span<const FusedAttention* const> kernels, const AttentionHeads& heads,
                                      const at::TensorOptions& options) {
  std::string refused;
  for (const FusedAttention* const kernel : kernels) {
    const std::optional<std::string> fault = fault_of(*kernel, heads, options);
    if (!fault) return {kernel, fmt::format("{}{}", kernel->name, refused)};
    refused += fmt::format("; not {}: {}", kernel->name, *fault);
  }
  throw Error(fmt::format("no attention kernel of Torch is right on {}{}", options.device().str(), refused));
}

AttentionChoice attention_on(const Placement& placement, const AttentionHeads& heads) {
  if (!placement.device.is_cuda()) return {&kCpuAttention, ""};
  const std::size_t index = static_cast<std::uint8_t>(device_index(placement.device));
  const std::vector<DriverGpu> gpus = gpus_of_driver();
  if (index >= gpus.size()) throw Error(fmt::format("NVIDIA's driver does not know {}", placement.device.str()));
  return first_right_attention(device_attention(gpus[index].capability, placement.arithmetic, heads), heads,
                               at::TensorOptions().dtype(placement.arithmetic).device(placement.device));
}

}  // namespace longrope
