#pragma once

#include "common/rope/rescale_factors.h"
#include "config/training_settings.h"
#include "finetune/process_place.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// One fine-tuning run (spec §5.2): its settings, what it is done to, and where. On one machine and Torch they
/// determine the bits of the result, except `settings.checkpoint_interval` and `settings.recompute`.
struct TrainingOptions {
  TrainingSettings settings;

  /// Hugging Face directory of the model to train. Of `random_weights` it needs config.json alone.
  std::filesystem::path model;

  /// Tokens that `model` is made for, where the user says it (describe_model()). Default: what its config.json says.
  std::optional<std::int64_t> reached_length;

  /// Standard deviation of the random matrices to begin with. Default nullopt: the weights of `model`.
  std::optional<double> random_weights;

  /// Documents file for the long samples, each document at least `length` tokens. A mask says which tokens count.
  std::filesystem::path documents;

  /// Tokens of a long sample.
  std::int64_t length = 0;

  /// Total λ, trained at every length (short samples excepted). Default nullopt: the factors that the model has.
  std::optional<RescaleFactors> factors;

  /// Length in tokens that `factors` are for, at least `length`. config.json of the result promises it.
  std::int64_t target_length = 0;

  /// Where the trained model appears when it is finished. OUT.training holds the state of an unfinished run.
  std::filesystem::path out;

  /// "cpu", "cuda" or "cuda:N". Default cpu.
  std::string device = "cpu";

  /// Which of several processes this one is. Default: there is no other.
  ProcessPlace place;
};

/// The short samples of mixed windows (LongRoPE2, spec §7.5): trained beside the long ones, with the angles that the
/// model has without the factors. A sample is one document, so nothing attends across documents. The attention factor
/// is that of the long samples, because Hugging Face has one for both tables.
struct ShortSamples {
  std::filesystem::path documents;  // each at least `length` tokens
  std::int64_t length = 0;          // tokens of a sample, at most the model's original length
  std::int64_t batch_size = 0;      // samples in one update
};

/// Nullopt unless all three settings of short samples are given.
[[nodiscard]] std::optional<ShortSamples> short_samples(const TrainingSettings& settings);

/// Samples that pass through the model at once, for a batch of `batch_size` samples of `length` tokens.
[[nodiscard]] std::int64_t micro_batch_size(const TrainingOptions& options, std::int64_t batch_size,
                                            std::int64_t length);
/// Throws InputError naming the rule that numbers of `options` break; looks at no file.
void require_consistent(const TrainingOptions& options);

/// One update of a training run, as its log has it.
struct TrainingStep {
  std::int64_t step = 0;  // 1-based
  double loss = 0.0;      // mean NLL in nats per label of its samples, before the update
  double learning_rate = 0.0;
  double gradient_norm = 0.0;                  // before clipping
  std::vector<std::uint64_t> documents;        // for each long sample, the 0-based index of its document by name
  std::vector<std::uint64_t> short_documents;  // the same for each short sample
};

}  // namespace longrope
