#include "coordinator/prepare_search.h"

#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/model/model_description.h"
#include "common/software_version.h"
#include "coordinator/search/search_algorithm.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace longrope {
namespace {

// λ divides the original f_i, so the positions below n̂, which keep them, would lose what the checkpoint carries.
constexpr std::string_view kLosesScaling = "on a model that carries rope scaling, which leading positions would lose";

/// Whose tokens the documents of a search are, and which file said so first.
struct Tokenizer {
  std::string digest;
  std::filesystem::path file;
};

/// A model directory need not hold its tokenizer; then at least all documents must have the same.
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

/// A search extends what the checkpoint carries; a seed that falls below it, by more than rounding to the grid removes,
/// would be another one when its genome is bred.
void require_extension(const RescaleFactors& seed, const SearchSpace& space, const std::filesystem::path& file) {
  if (!space.scaling.scaled()) return;
  if (seed.n_hat != 0) {
    throw InputError(fmt::format("n_hat of a seed must be 0 {}: {} ({})", kLosesScaling, seed.n_hat, file.string()));
  }
  const std::vector<double>& own = space.scaling.beyond_original.lambda;
  for (std::size_t pair = 0; pair < own.size(); ++pair) {
    if (seed.lambda[pair] / own[pair] < 1.0 - 0.5 / space.grid.steps_per_unit) {
      throw InputError(fmt::format("lambda of a seed must be at least the model's own, {}: pair {} is {} ({})",
                                   own[pair], pair, seed.lambda[pair], file.string()));
    }
  }
}

/// What the model carries, as it is and held below the bound: a recovery begins with both, so that it never ends with
/// worse factors on its documents than the model has.
std::vector<RescaleFactors> own_seeds(const ModelDescription& model, const StageConfig& stage, double upper_bound) {
  const AttentionFactor attention{AttentionPolicy::kValue, stage.search.attention_value};
  const std::vector<double>& own = model.own_factors(stage.target_length).lambda;
  std::vector<double> bounded = own;
  for (double& factor : bounded) factor = std::clamp(factor, 1.0, upper_bound);
  return {exact_factors(own, /*n_hat=*/0, attention), exact_factors(std::move(bounded), /*n_hat=*/0, attention)};
}

/// Seeds of a recovery have its attention factor, whatever theirs is: it must be that of the long table.
RescaleFactors recovery_seed(const std::filesystem::path& file, const StageConfig& stage, std::size_t pairs) {
  const RescaleFactors seed = read_factors(file, stage.target_length);
  validate(seed, pairs, file.string());
  return exact_factors(seed.lambda, seed.n_hat, {AttentionPolicy::kValue, stage.search.attention_value});
}

/// λ of a recovery replaces the model's own, so nothing is composed (spec §5.4).
SearchSpace recovery_space(const StageConfig& stage, const ModelDescription& model, const std::string& place) {
  SearchSpace space;
  space.geometry = model.geometry;
  space.target_length = stage.target_length;
  const std::int64_t reached = model.scaling.reached_length;
  if (stage.target_length > reached) {
    throw InputError(
        fmt::format("target_length of a recovery must be within the {} tokens that the model reaches: {} ({})", reached,
                    stage.target_length, place));
  }
  const double ratio = static_cast<double>(stage.target_length) / static_cast<double>(model.geometry.original_length);
  SearchConfig search = stage.search;
  // The amount is not published; this fits the authors' arrays (spec §5.4).
  if (!search.upper_bound && !search.upper_bound_one_plus_ratio) search.upper_bound = 1.0 + std::max(2.0, ratio);
  space.grid = search_grid(search, ratio);
  space.n_hat_choices = search.n_hat_choices;
  space.attention_policies = search.attention_policies;
  space.published_seeds = own_seeds(model, stage, space.grid.upper_bound);
  for (const std::filesystem::path& file : stage.search.seed_files) {
    space.published_seeds.push_back(recovery_seed(file, stage, model.geometry.pairs()));
  }
  return space;
}

SearchSpace search_space(const StageConfig& stage, const ModelDescription& model, const std::string& place) {
  if (stage.recovery) return recovery_space(stage, model, place);
  SearchSpace space;
  space.geometry = model.geometry;
  space.scaling = model.scaling;
  space.target_length = stage.target_length;
  const std::int64_t reached = space.reached_length();
  if (stage.target_length <= reached) {
    const std::int64_t original = model.geometry.original_length;
    throw InputError(fmt::format("target_length must exceed the model's {} tokens{}: {} ({})", reached,
                                 reached == original ? "" : fmt::format(" ({} before its rope scaling)", original),
                                 stage.target_length, place));
  }
  space.grid = search_grid(stage.search, static_cast<double>(stage.target_length) / static_cast<double>(reached));
  space.n_hat_choices = stage.search.n_hat_choices;
  const bool keeps_angles = std::ranges::any_of(space.n_hat_choices, [](std::int64_t n_hat) { return n_hat != 0; });
  if (model.scaling.scaled() && keeps_angles) {
    throw InputError(
        fmt::format("n_hat must be 0 {}: [{}] ({})", kLosesScaling, fmt::join(space.n_hat_choices, ", "), place));
  }
  space.attention_policies = stage.search.attention_policies;
  for (const std::filesystem::path& file : stage.search.seed_files) {
    RescaleFactors seed = read_factors(file, stage.target_length);
    validate(seed, model.geometry.pairs(), file.string());
    require_extension(seed, space, file);
    space.published_seeds.push_back(std::move(seed));
  }
  return space;
}

/// Adds the documents of one purpose to plan, run and the map.
std::vector<PlannedDocument> add_documents(const StageConfig& stage, std::int64_t stage_id, bool heldout,
                                           const ModelDescription& model, std::optional<Tokenizer>& tokenizer,
                                           PreparedSearch& prepared) {
  const std::filesystem::path& file = heldout ? stage.heldout_documents : stage.search_documents;
  std::vector<PlannedDocument> planned;
  std::set<std::string> seen;
  for (Document& document : usable_documents(file, heldout ? stage.heldout_count : stage.search_count,
                                             stage.target_length, model, tokenizer)) {
    const std::string document_digest = digest(document);
    if (!seen.insert(document_digest).second) {
      throw InputError("documents must differ: " + document.name + " repeats an earlier one (" + file.string() + ")");
    }
    const std::int64_t scored = scored_tokens(document, stage.target_length);
    planned.push_back({document_digest, scored});
    DocumentRecord record;
    record.digest = document_digest;
    record.name = document.name;
    record.file = file.string();
    record.tokens = static_cast<std::int64_t>(document.tokens.size());
    record.stage = stage_id;
    record.heldout = heldout;
    record.order = static_cast<std::int64_t>(planned.size()) - 1;
    record.scored_tokens = scored;
    prepared.run.documents.push_back(std::move(record));
    prepared.documents.emplace(document_digest, std::move(document));
  }
  return planned;
}

void require_apart(const PlannedStage& stage) {
  std::set<std::string> searched;
  for (const PlannedDocument& document : stage.search) searched.insert(document.digest);
  for (const PlannedDocument& document : stage.heldout) {
    if (searched.contains(document.digest)) {
      throw InputError("held-out documents must not be searched on: document " + document.digest + " of stage " +
                       stage.config.name + " is in both files");
    }
  }
}

}  // namespace

PreparedSearch prepare_search(const Config& config) { return prepare_search(config, identify_model(config.model)); }

PreparedSearch prepare_search(const Config& config, const IdentifiedModel& identified) {
  PreparedSearch prepared;
  const ModelDescription& model = identified.description;
  SearchPlan& plan = prepared.plan;
  plan.seed = config.seed;
  plan.model_name = model.name;
  plan.model_digest = identified.digest;
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
    const auto& stage = std::get<StageConfig>(configured.work);
    PlannedStage planned;
    planned.config = stage;
    planned.space = search_space(stage, model, "stage " + stage.name + ", " + config.file.string());
    planned.carried = model.scaling;
    planned.budget =
        stage.stop.max_candidates ? static_cast<std::size_t>(*stage.stop.max_candidates) : default_budget(stage.search);
    const auto id = static_cast<std::int64_t>(plan.stages.size()) + 1;
    planned.search = add_documents(stage, id, /*heldout=*/false, model, tokenizer, prepared);
    planned.heldout = add_documents(stage, id, /*heldout=*/true, model, tokenizer, prepared);
    require_apart(planned);

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
