#include "pipeline/preflight.h"

#include "common/error.h"
#include "common/model/expected_tensors.h"
#include "pipeline/stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace longrope {
namespace {

std::string place_of(const Document& document, const std::filesystem::path& file) {
  return fmt::format("{} ({})", document.name, file.string());
}

}  // namespace

Preflight::Preflight(const Config& config, const StagesOver& over)
    : config_(config), over_(over), model_(describe_model(config.model, config.reached_length)) {}

void Preflight::check(const PipelineStage& stage) {
  if (over_.skipped.contains(stage.name)) return;
  is_finished_ = over_.finished.contains(stage.name);
  make_driver(stage)->check(*this);
}

void Preflight::require_apart() const {
  const auto finding = text_.worst();
  if (!finding) return;
  throw InputError(
      fmt::format("a document that is held out or evaluated must not be trained on: {} of the {} n-grams of {} "
                  "tokens of {} are, first in {}",
                  finding->shared, finding->ngrams, SharedText::kNgramTokens, finding->judge, finding->trained));
}

std::int64_t Preflight::reached_length(const PipelineStage& stage) const {
  return longrope::reached_length(config_, stage, model_, over_.skipped);
}

std::vector<Document> Preflight::documents_of(const std::filesystem::path& file) const {
  // When they have served they may go.
  if (is_finished_ && !std::filesystem::exists(file)) return {};
  return read_documents_for(file, config_.model).documents;
}

std::vector<Document> Preflight::documents(const std::filesystem::path& file, std::int64_t length,
                                           std::optional<std::int64_t> count) const {
  std::vector<Document> documents = documents_of(file);
  require_scorable(documents, file, length, model_.vocabulary);
  if (!is_finished_ && count && *count > std::ssize(documents)) {
    throw InputError(fmt::format("a stage must take at most the documents there are, {}: {} ({})", documents.size(),
                                 *count, file.string()));
  }
  return documents;
}

std::vector<Document> Preflight::whole_documents(const std::filesystem::path& file) const {
  std::vector<Document> documents = documents_of(file);
  for (const Document& document : documents) {
    require_scorable({&document, 1}, file, static_cast<std::int64_t>(document.tokens.size()), model_.vocabulary);
  }
  return documents;
}

void Preflight::judge(const std::filesystem::path& file, const std::vector<Document>& documents) {
  for (const Document& document : documents) text_.add_judge(document, place_of(document, file));
}

void Preflight::train(const std::filesystem::path& file, const std::vector<Document>& documents) {
  for (const Document& document : documents) text_.add_trained(document, place_of(document, file));
}

void require_feasible(const Config& config, const StagesOver& over) {
  Preflight preflight(config, over);
  require_usable_weights(preflight.model());
  for (const bool trains : {false, true}) {  // what judges comes first, to be looked for in what is trained on
    for (const PipelineStage& stage : config.stages) {
      if ((stage.kind == StageKind::kFinetune) != trains) continue;
      try {
        preflight.check(stage);
      } catch (const InputError& error) {
        throw InputError(fmt::format("stage {}: {}", stage.name, error.what()));
      }
    }
  }
  preflight.require_apart();
}

}  // namespace longrope
