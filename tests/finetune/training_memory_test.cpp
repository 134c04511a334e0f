#include "finetune/training_memory.h"

#include "finetune/adamw.h"
#include "finetune/training_pass.h"

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

namespace longrope {
namespace {

/// Counts the bytes that Torch holds for the tensors of this thread.
class TensorBytes : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    held_ += size;
    peak_ = std::max(peak_, held_);
  }
  [[nodiscard]] bool memoryProfilingEnabled() const override { return true; }

  [[nodiscard]] std::int64_t peak() const { return peak_; }

 private:
  std::int64_t held_ = 0;
  std::int64_t peak_ = 0;
};

struct Case {
  std::string name;
  std::int64_t key_value_heads = 4;
  ComputeDtype dtype = ComputeDtype::kFp32;
  bool recompute = false;
  std::int64_t length = 512;
  std::int64_t vocabulary = 258;
  bool tied_embeddings = true;
};

ModelDescription random_model(const Case& shape) {
  ModelDescription model;
  model.vocabulary = shape.vocabulary;
  model.hidden_size = 128;
  model.intermediate_size = 352;
  model.layers = 6;
  model.query_heads = 4;
  model.key_value_heads = shape.key_value_heads;
  model.head_dim = 32;
  model.geometry = {.rotary_dim = 32, .rope_theta = 10000.0, .original_length = 512};
  model.tied_embeddings = shape.tied_embeddings;
  model.rms_norm_epsilon = 1e-5;
  return model;
}

/// Largest number of bytes that tensors take in updates on two samples.
std::int64_t measured_peak(const ModelDescription& model, const TrainingOptions& options) {
  const auto bytes = std::make_shared<TensorBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
  const ModelParameters parameters = random_parameters(model, 0.02, /*seed=*/1, at::kCPU);
  AdamW optimizer(trained_tensors(parameters), adamw_options(options.settings));
  const TrainingPass pass(model, parameters,
                          {.products = options.settings.dtype == ComputeDtype::kBf16 ? at::kBFloat16 : at::kFloat,
                           .recompute = options.settings.recompute});
  const at::Tensor tokens = at::randint(model.vocabulary, {options.settings.batch_size, options.length},
                                        at::TensorOptions().dtype(at::kLong));
  const RescaleFactors factors = exact_factors(std::vector<double>(model.geometry.pairs(), 1.0), 0, {});
  for (int update = 0; update < 2; ++update) {
    static_cast<void>(pass.accumulate_gradients(tokens, tokens, factors, 1.0));
    optimizer.update(1e-4);
  }
  return bytes->peak();
}

class TrainingMemoryTest : public ::testing::TestWithParam<Case> {};

TEST_P(TrainingMemoryTest, EstimateIsWithinATenthOfWhatTensorsTake) {
  TrainingOptions options;
  options.length = GetParam().length;
  options.settings.batch_size = 2;
  options.settings.dtype = GetParam().dtype;
  options.settings.recompute = GetParam().recompute;
  const ModelDescription model = random_model(GetParam());
  const auto measured = static_cast<double>(measured_peak(model, options));
  EXPECT_NEAR(static_cast<double>(estimate_training_memory(model, options)), measured, 0.1 * measured);
}

INSTANTIATE_TEST_SUITE_P(
    Runs, TrainingMemoryTest,
    ::testing::Values(Case{.name = "Plain"}, Case{.name = "GroupedHeads", .key_value_heads = 2},
                      Case{.name = "Recomputed", .recompute = true},
                      Case{.name = "GroupedAndRecomputed", .key_value_heads = 1, .recompute = true, .length = 2048},
                      Case{.name = "Bf16", .dtype = ComputeDtype::kBf16, .length = 64},
                      Case{.name = "Bf16Recomputed", .dtype = ComputeDtype::kBf16, .recompute = true, .length = 64},
                      Case{.name = "LargeVocabulary", .recompute = true, .vocabulary = 8192},
                      Case{.name = "UntiedEmbeddings", .length = 64, .vocabulary = 8192, .tied_embeddings = false}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace longrope
