// Links the CUDA kernels with nothing but the CUDA runtime, and where there is a GPU compares what they write with what
// their bodies write on the host. Without one it says NOT RUN and ends well; a difference ends it with 1.

#include "tests/worker/kernels/cuda/bodies_on_host.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace longrope {

extern const CudaKernels kCudaKernels;  // cuda_kernels.cu

namespace {

int differences = 0;

void require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA failed: %s\n", cudaGetErrorString(error));
  std::exit(EXIT_FAILURE);
}

/// A copy of host values on the device.
template <typename Value>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<Value>& values) : count_(values.size()) {
    require(cudaMalloc(&data_, count_ * sizeof(Value)));
    require(cudaMemcpy(data_, values.data(), count_ * sizeof(Value), cudaMemcpyHostToDevice));
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  [[nodiscard]] Value* data() const { return static_cast<Value*>(data_); }
  [[nodiscard]] std::vector<Value> values() const {
    std::vector<Value> result(count_);
    require(cudaMemcpy(result.data(), data_, count_ * sizeof(Value), cudaMemcpyDeviceToHost));
    return result;
  }

 private:
  std::size_t count_;
  void* data_ = nullptr;
};

void expect_near(const char* what, std::size_t index, float actual, float expected, float relative) {
  if (std::isnan(actual) && std::isnan(expected)) return;
  if (actual == expected || std::fabs(actual - expected) <= relative * (1.0F + std::fabs(expected))) return;
  std::fprintf(stderr, "%s[%zu]: expected %.9g, got %.9g\n", what, index, static_cast<double>(expected),
               static_cast<double>(actual));
  ++differences;
}

template <typename Element>
std::vector<Element> waves(std::size_t count, float scale) {
  std::vector<Element> values;
  for (std::size_t index = 0; index < count; ++index) {
    values.push_back(static_cast<Element>(scale * std::sin(static_cast<float>(index * index % 9973))));
  }
  return values;
}

/// `relative`: one unit in the last place of the element, for a value that lies between two.
template <typename Element, typename Real>
void compare_rotation(ElementType type, float relative, void (*rotate)(const Rotation<Real>&, CudaStream)) {
  const std::vector<Real> frequencies = {Real(1), Real(0.5), Real(0.01), Real(0.9), Real(0.2), Real(0.001)};
  constexpr std::int64_t kPairs = 3;
  constexpr std::int64_t kStride = 4 * 8;
  std::vector<Element> expected = waves<Element>(300 * kStride, 1.0F);
  const OnDevice<Element> rows(expected);
  const OnDevice<Real> on_device(frequencies);
  Rotation<Real> rotation{.rows = rows.data(),
                          .type = type,
                          .stride = kStride,
                          .tokens = 300,
                          .heads = 3,
                          .head_dim = 8,
                          .first_position = 1999900,
                          .pairs = kPairs,
                          .angles = {on_device.data(), on_device.data() + kPairs, Real(1.25), 2000000}};
  rotate(rotation, nullptr);
  rotation.rows = expected.data();
  rotation.angles.original = frequencies.data();
  rotation.angles.rescaled = frequencies.data() + kPairs;
  rotate_on_host<Element>(rotation);
  const std::vector<Element> actual = rows.values();
  for (std::size_t index = 0; index < actual.size(); ++index) {
    expect_near("rotated", index, static_cast<float>(actual[index]), static_cast<float>(expected[index]), relative);
  }
}

template <typename Element>
void compare_logits(ElementType type) {
  constexpr std::int64_t kRows = 5;
  constexpr std::int64_t kColumns = 1000;
  std::vector<Element> logits = waves<Element>(kRows * kColumns, 20.0F);
  logits[7] = static_cast<Element>(-INFINITY);
  logits[kColumns + 7] = static_cast<Element>(INFINITY);
  logits[2 * kColumns + 7] = static_cast<Element>(NAN);
  logits[3 * kColumns + 255] = logits[3 * kColumns + 256] = static_cast<Element>(30.0F);
  const std::vector<std::int64_t> targets = {0, 999, 500, 256, 255};
  std::vector<LogitState> expected(kRows, no_logits());
  const OnDevice<Element> device_logits(logits);
  const OnDevice<std::int64_t> device_targets(targets);
  const OnDevice<LogitState> states(expected);
  for (std::int64_t first = 0; first < kColumns; first += 600) {
    LogitTile tile{.logits = device_logits.data() + first,
                   .type = type,
                   .stride = kColumns,
                   .rows = kRows,
                   .columns = first == 0 ? 600 : 400,
                   .first_column = first,
                   .targets = device_targets.data(),
                   .states = states.data()};
    kCudaKernels.add_logits(tile, nullptr);
    tile.logits = logits.data() + first;
    tile.targets = targets.data();
    tile.states = expected.data();
    add_logits_on_host<Element>(tile);
  }
  const std::vector<LogitState> actual = states.values();
  for (std::size_t row = 0; row < actual.size(); ++row) {
    expect_near("nll", row, negative_log_likelihood(actual[row]), negative_log_likelihood(expected[row]), 1e-5F);
    if (std::isnan(expected[row].exponentials)) continue;
    expect_near("argmax", row, static_cast<float>(actual[row].argmax), static_cast<float>(expected[row].argmax), 0.0F);
  }
}

template <typename Element>
void compare(ElementType type, float relative) {
  compare_rotation<Element, double>(type, relative, kCudaKernels.rotate_fp64);
  compare_rotation<Element, float>(type, relative, kCudaKernels.rotate_hf_fp32);
  compare_logits<Element>(type);
}

}  // namespace
}  // namespace longrope

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("NOT RUN: there is no CUDA device; the kernels are compiled and linked");
    return EXIT_SUCCESS;
  }
  using longrope::ElementType;
  longrope::compare<float>(ElementType::kFloat32, 1e-6F);
  longrope::compare<__nv_bfloat16>(ElementType::kBfloat16, 0.008F);
  longrope::compare<__half>(ElementType::kFloat16, 0.001F);
  std::printf("CUDA kernels: %d differences from their bodies on the host\n", longrope::differences);
  return longrope::differences == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
