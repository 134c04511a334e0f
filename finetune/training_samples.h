#pragma once

#include "common/documents/documents.h"
#include "common/model/model_description.h"
#include "finetune/sample_order.h"
#include "finetune/training_run.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// Samples as TrainingPass takes them: both int64 [samples, length].
struct TrainingBatch {
  at::Tensor tokens;
  at::Tensor labels;
};

/// The samples of one length, trained under one table of factors. Not thread-safe.
struct TrainingSamples {
  std::vector<Document> documents;
  SampleOrder order;
  RescaleFactors factors;             // total λ
  std::int64_t length = 0;            // tokens of a sample
  std::int64_t batch_size = 0;        // samples in one update
  std::int64_t micro_batch_size = 0;  // samples that pass through the model at once

  /// SHA-256 of the documents, in hex.
  [[nodiscard]] std::string digest() const;
  /// Indices into `documents`, one for each sample of update `update` (0-based), in their order.
  [[nodiscard]] std::vector<std::uint64_t> of_update(std::int64_t update);
  /// Number of tokens that count towards the loss in samples of the documents `chosen`.
  [[nodiscard]] std::int64_t labels(std::span<const std::uint64_t> chosen) const;
  /// The samples of the documents `chosen`, on the CPU.
  [[nodiscard]] TrainingBatch batch(std::span<const std::uint64_t> chosen) const;
};

/// The samples that `options` ask for. Both throw InputError naming file and rule for documents that are too short, of
/// another tokenizer or outside the vocabulary, and for short samples longer than the model's original length.
[[nodiscard]] TrainingSamples long_samples(const TrainingOptions& options, const ModelDescription& model);
[[nodiscard]] std::optional<TrainingSamples> short_samples(const TrainingOptions& options,
                                                           const ModelDescription& model);

}  // namespace longrope
