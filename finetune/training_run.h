#pragma once

#include "common/formats/hugging_face_export.h"
#include "common/rope/rescale_factors.h"
#include "common/rope/rotary_table.h"
#include "config/config.h"
#include "finetune/learning_rate.h"
#include "finetune/process_place.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace longrope {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.0;  // of matrices only: not of norms and biases
};

/// Short samples beside the long ones, with the angles that the model has without `factors` (LongRoPE2's mixed windows,
/// spec §7.5). A sample is one document, so that nothing attends over documents; the attention factor is that of the
/// long ones, because Hugging Face has one for both.
struct ShortSamples {
  std::filesystem::path documents;  // each at least `length` tokens
  std::int64_t length = 0;          // at most what the model was trained at before
  std::int64_t batch_size = 0;      // of them in one update, beside those of TrainingOptions
};

/// One fine-tuning run (spec §5.2). Everything but `checkpoint_interval` and `recompute` determines the bits of the
/// result, on one machine and Torch.
struct TrainingOptions {
  std::filesystem::path model;
  std::optional<double> random_weights;  // deviation of the weights to begin with; nullopt: those of `model`
  std::filesystem::path documents;       // each at least `length` tokens; their masks, if any, say what counts
  std::filesystem::path out;  // the trained model; OUT.training holds the state of a run that is not finished
  std::optional<RescaleFactors> factors;  // total λ; nullopt: those that the model has, whatever the length
  std::int64_t target_length = 0;         // that `factors` are for, at least `length`
  HuggingFaceTarget target = HuggingFaceTarget::k5;
  std::int64_t length = 0;            // tokens of a sample
  std::int64_t batch_size = 32;       // samples of `length` in one update
  std::int64_t micro_batch_size = 0;  // samples at once, divides the shares of a process; 0: of 16,384 tokens
  std::optional<ShortSamples> short_samples;
  LearningRateSchedule schedule;  // its `steps` are the updates of the run
  AdamWOptions adamw;
  double max_gradient_norm = 1.0;  // 0: not clipped
  std::uint64_t seed = 0;
  std::string device = "cpu";
  ComputeDtype dtype = ComputeDtype::kFp32;  // of products; bf16 where the device has it. Parameters are float32
  AngleMode angles = AngleMode::kFp64;
  std::int64_t threads = 1;
  ProcessPlace place;
  bool recompute = false;
  std::int64_t checkpoint_interval = 50;  // updates
};

/// Samples at once of a batch of samples of `length` tokens.
[[nodiscard]] std::int64_t micro_batch_size(const TrainingOptions& options, std::int64_t batch_size,
                                            std::int64_t length);
/// Throws InputError naming the rule that numbers of `options` break; looks at no file.
void require_consistent(const TrainingOptions& options);

/// One update of a training run, as its log has it.
struct TrainingStep {
  std::int64_t step = 0;  // counted from 1
  double loss = 0.0;      // mean NLL in nats of the labels of its samples, before the update
  double learning_rate = 0.0;
  double gradient_norm = 0.0;            // before clipping
  std::vector<std::uint64_t> documents;  // in the order of the samples, counted from 0 in name order
  std::vector<std::uint64_t> short_documents;
};

}  // namespace longrope
