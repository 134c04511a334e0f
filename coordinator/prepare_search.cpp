#include "coordinator/prepare_search.h"

#include "common/error.h"
#include "common/model/expected_tensors.h"
#include "common/model/model_description.h"
#include "common/software_version.h"
#include "coordinator/search_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace longrope {
namespace {

/// The tokenizer that made the documents of a search, and the first file that named it.
struct Tokenizer {
  std::string digest;
  std::filesystem::path file;
};

/// A model directory may lack the tokenizer's files; then at least all documents must come from one tokenizer.
void require_one_tokenizer(const std::string& digest, const std::filesystem::path& file,
                           std::optional<Tokenizer>& tokenizer) {
  if (!tokenizer) tokenizer = Tokenizer{digest, file};
  if (tokenizer->digest != digest) {
    throw InputError(fmt::format("documents of a search must be made with one tokenizer: {} made those of {}, {} ({})",
                                 tokenizer->digest, tokenizer->file.string(), digest, file.string()));
  }
}

/// The first `count` documents of `file` (all without a count), each fit for `length` tokens.
std::vector<Document> usable_documents(const std::filesystem::path& file, std::optional<std::int64_t> count,
                                       std::int64_t length, const ModelDescription& model,
                                       std::optional<Tokenizer>& tokenizer) {
  DocumentsFile read = read_documents_for(file, model.directory);
  require_one_tokenizer(read.tokenizer_digest, file, tokenizer);
  std::vector<Document> documents = std::move(read.documents);
  if (count && *count > static_cast<std::int64_t>(documents.size())) {
    throw InputError("a stage needs " + std::to_string(*count) + " documents: " + std::to_string(documents.size()) +
                     " in " + file.string());
  }
  if (count) documents.resize(static_cast<std::size_t>(*count));
  require_scorable(documents, file, length, model.vocabulary);
  return documents;
}

/// A documents file of a stage, and how many of its first documents the stage uses.
struct StageDocuments {
  DocumentPurpose purpose;
  std::filesystem::path file;  // empty: the stage has none for this purpose
  std::optional<std::int64_t> count;
};

/// Adds the documents of one purpose to plan, run and the map.
std::vector<PlannedDocument> add_documents(const StageDocuments& documents, const SearchStage& stage,
                                           std::int64_t stage_id, const ModelDescription& model,
                                           std::optional<Tokenizer>& tokenizer, PreparedSearch& prepared) {
  const std::filesystem::path& file = documents.file;
  if (file.empty()) return {};
  std::vector<PlannedDocument> planned;
  std::set<std::string> seen;
  for (Document& document : usable_documents(file, documents.count, stage.target_length, model, tokenizer)) {
    const std::string document_digest = digest(document);
    if (!seen.insert(document_digest).second) {
      throw InputError("documents must differ: " + document.name + " repeats an earlier one (" + file.string() + ")");
    }
    const std::int64_t scored = scored_tokens(document, stage.target_length);
    const std::int64_t reached = std::min(model.scaling.reached_length, stage.target_length);
    planned.push_back({document_digest, scored, scored_tokens(document, reached)});
    DocumentRecord record;
    record.digest = document_digest;
    record.name = document.name;
    record.file = file.string();
    record.tokens = static_cast<std::int64_t>(document.tokens.size());
    record.stage = stage_id;
    record.purpose = documents.purpose;
    record.order = static_cast<std::int64_t>(planned.size()) - 1;
    record.scored_tokens = scored;
    prepared.run.documents.push_back(std::move(record));
    prepared.documents.emplace(document_digest, std::move(document));
  }
  return planned;
}

/// What is left for the search of "gradient" once the finalists are scored on the held-out documents.
double search_passes(const SearchStage& stage, std::size_t heldout_documents) {
  return static_cast<double>(stage.stop.max_passes.value_or(kDefaultPasses)) -
         static_cast<double>(stage.finalists) * static_cast<double>(heldout_documents);
}

/// Candidates of a stage whose documents are known. Throws InputError where its passes do not suffice for any.
std::size_t stage_budget(const PlannedStage& stage, const std::string& place) {
  if (stage.config.stop.max_candidates) return static_cast<std::size_t>(*stage.config.stop.max_candidates);
  try {
    return planned_candidates(stage.config.search, stage.space, resources_of(stage));
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} ({})", error.what(), place));
  }
}

void require_apart(const PlannedStage& stage) {
  const auto refuse_shared = [&](const std::vector<PlannedDocument>& documents,
                                 const std::vector<PlannedDocument>& others, const std::string& rule) {
    for (const PlannedDocument& document : documents) {
      if (std::ranges::find(others, document.digest, &PlannedDocument::digest) == others.end()) continue;
      throw InputError(
          fmt::format("{}: document {} of stage {} is in both files", rule, document.digest, stage.config.name));
    }
  };
  refuse_shared(stage.heldout, stage.search, "held-out documents must not be searched on");
  refuse_shared(stage.final_documents, stage.search, "final documents must not be searched on");
  refuse_shared(stage.final_documents, stage.heldout, "final documents must not be held out too");
}

}  // namespace

PreparedSearch prepare_search(const Config& config, const IdentifiedModel& identified) {
  PreparedSearch prepared;
  const ModelDescription& model = identified.description;
  const auto place_of = [&config](const PipelineStage& stage) {
    return "stage " + stage.name + ", " + config.file.string();
  };
  // First what takes no time: weights are hashed and documents read only for a search that can begin.
  std::vector<SearchSpace> spaces;
  for (const PipelineStage& stage : config.stages) {
    spaces.push_back(search_space(std::get<SearchStage>(stage.work), model, place_of(stage)));
  }
  require_usable_weights(model);
  SearchPlan& plan = prepared.plan;
  plan.seed = config.seed;
  plan.model_name = model.name;
  plan.model_digest = identified.digest();
  plan.dtype = config.dtype;
  plan.angles = config.angles;
  plan.threads_per_worker = config.threads_per_worker;
  plan.scheduling = config.scheduling;

  RunRecord& run = prepared.run;
  run.name = config.name;
  run.seed = config.seed;
  run.config_file = config.file.string();
  run.config_text = config.text;
  run.trajectory_settings = trajectory_settings(config);
  run.model_name = plan.model_name;
  run.model_digest = plan.model_digest;
  run.dtype = to_string(config.dtype);
  run.angles = to_string(config.angles);
  run.threads_per_worker = config.threads_per_worker;
  run.software_version = kSoftwareVersion;

  std::optional<Tokenizer> tokenizer;
  for (const PipelineStage& configured : config.stages) {
    const auto& stage = std::get<SearchStage>(configured.work);
    PlannedStage planned;
    planned.config = stage;
    planned.space = std::move(spaces[plan.stages.size()]);
    planned.carried = model.scaling;
    const auto id = static_cast<std::int64_t>(plan.stages.size()) + 1;
    const auto add = [&](DocumentPurpose purpose, const std::filesystem::path& file,
                         std::optional<std::int64_t> count) {
      return add_documents({purpose, file, count}, stage, id, model, tokenizer, prepared);
    };
    planned.search = add(DocumentPurpose::kSearch, stage.search_documents, stage.search_count);
    planned.heldout = add(DocumentPurpose::kHeldout, stage.heldout_documents, stage.heldout_count);
    planned.final_documents = add(DocumentPurpose::kFinal, stage.final_documents, stage.final_count);
    require_apart(planned);
    planned.passes = search_passes(stage, planned.heldout.size());
    planned.budget = stage_budget(planned, place_of(configured));

    StageRecord record;
    record.id = id;
    record.name = stage.name;
    record.target_length = stage.target_length;
    record.budget = static_cast<std::int64_t>(planned.budget);
    run.stages.push_back(std::move(record));
    plan.stages.push_back(std::move(planned));
  }
  return prepared;
}

}  // namespace longrope
