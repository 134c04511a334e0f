#include "finetune/training_samples.h"

#include "common/error.h"
#include "common/sha256.h"
#include "finetune/training_pass.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <utility>

namespace longrope {
namespace {

std::vector<Document> training_documents(const TrainingOptions& options, const std::filesystem::path& path,
                                         std::int64_t length, std::int64_t vocabulary) {
  DocumentsFile file = read_documents_for(path, options.model);
  require_scorable(file.documents, path, length, vocabulary);
  return std::move(file.documents);
}

}  // namespace

std::string TrainingSamples::digest() const {
  Sha256 all;
  for (const Document& document : documents) all.field(longrope::digest(document));
  return all.hex();
}

std::vector<std::uint64_t> TrainingSamples::of_update(std::int64_t update) {
  const auto first = static_cast<std::uint64_t>(update * batch_size);
  std::vector<std::uint64_t> chosen;
  for (std::uint64_t sample = first; sample < first + static_cast<std::uint64_t>(batch_size); ++sample) {
    chosen.push_back(order.document(sample));
  }
  return chosen;
}

std::int64_t TrainingSamples::labels(std::span<const std::uint64_t> chosen) const {
  std::int64_t count = 0;
  for (const std::uint64_t document : chosen) count += scored_tokens(documents[document], length);
  return count;
}

TrainingBatch TrainingSamples::batch(std::span<const std::uint64_t> chosen) const {
  const auto rows = static_cast<std::int64_t>(chosen.size());
  const TrainingBatch result{
      at::empty({rows, length}, at::TensorOptions().dtype(at::kLong)),
      at::full({rows, length}, TrainingPass::kIgnoredLabel, at::TensorOptions().dtype(at::kLong))};
  auto* const tokens = result.tokens.data_ptr<std::int64_t>();
  auto* const label_ids = result.labels.data_ptr<std::int64_t>();
  const auto width = static_cast<std::size_t>(length);
  for (std::size_t row = 0; row < chosen.size(); ++row) {
    const Document& document = documents[chosen[row]];
    for (std::size_t position = 0; position < width; ++position) {
      const std::int32_t token = document.tokens[position];
      tokens[row * width + position] = token;
      const bool counts = document.scored.empty() || document.scored[position] != 0;
      if (position > 0 && counts) label_ids[row * width + position - 1] = token;
    }
  }
  return result;
}

TrainingSamples long_samples(const TrainingOptions& options, const ModelDescription& model) {
  std::vector<Document> documents = training_documents(options, options.documents, options.length, model.vocabulary);
  SampleOrder order(documents.size(), options.settings.seed, "training");
  return {std::move(documents),
          std::move(order),
          options.factors ? *options.factors : model.own_factors(options.length),
          options.length,
          options.settings.batch_size,
          micro_batch_size(options, options.settings.batch_size, options.length)};
}

std::optional<TrainingSamples> short_samples(const TrainingOptions& options, const ModelDescription& model) {
  const std::optional<ShortSamples> given = short_samples(options.settings);
  if (!given) return std::nullopt;
  if (given->length > model.geometry.original_length) {
    throw InputError(
        fmt::format("length of short samples must be at most the {} tokens that the model was trained at: {}",
                    model.geometry.original_length, given->length));
  }
  std::vector<Document> documents = training_documents(options, given->documents, given->length, model.vocabulary);
  SampleOrder order(documents.size(), options.settings.seed, "short samples");
  RescaleFactors factors = model.scaling.up_to_original;
  factors.attention = options.factors->attention;
  return TrainingSamples{std::move(documents), std::move(order),
                         std::move(factors),   given->length,
                         given->batch_size,    micro_batch_size(options, given->batch_size, given->length)};
}

}  // namespace longrope
