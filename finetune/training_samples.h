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

/// Samples as TrainingPass takes them, [samples, length] int64 each.
struct TrainingBatch {
  at::Tensor tokens;
  at::Tensor labels;
};

/// Samples of one length, under one table of factors. Not thread-safe.
struct TrainingSamples {
  std::vector<Document> documents;
  SampleOrder order;
  RescaleFactors factors;
  std::int64_t length = 0;
  std::int64_t batch_size = 0;
  std::int64_t micro_batch_size = 0;

  /// SHA-256 in hex over the documents.
  [[nodiscard]] std::string digest() const;
  /// The documents of update `update`, counted from 0, in the order of its samples.
  [[nodiscard]] std::vector<std::uint64_t> of_update(std::int64_t update);
  /// How many tokens count in samples of these documents.
  [[nodiscard]] std::int64_t labels(std::span<const std::uint64_t> chosen) const;
  [[nodiscard]] TrainingBatch batch(std::span<const std::uint64_t> chosen) const;
};

/// What `options` ask for. Both throw InputError naming file and rule for documents that are too short, of another
/// tokenizer or outside the vocabulary, and for short samples longer than the model's original length.
[[nodiscard]] TrainingSamples long_samples(const TrainingOptions& options, const ModelDescription& model);
[[nodiscard]] std::optional<TrainingSamples> short_samples(const TrainingOptions& options,
                                                           const ModelDescription& model);

}  // namespace longrope
