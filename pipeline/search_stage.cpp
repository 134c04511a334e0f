#include "common/error.h"
#include "common/rope/closed_form_factors.h"
#include "coordinator/search/baselines.h"
#include "coordinator/search/search_algorithm.h"
#include "coordinator/search_space.h"
#include "evaluation/verdict_text.h"
#include "pipeline/preflight.h"
#include "pipeline/run_plan.h"
#include "pipeline/stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;

/// A search, or the recovery of short contexts, which is a search of another table.
class SearchDriver final : public StageDriver {
 public:
  explicit SearchDriver(const PipelineStage& stage) : stage_(stage), search_(std::get<SearchStage>(stage.work)) {}

  void check(Preflight& preflight) const override {
    if (!preflight.is_finished()) require_searchable(preflight);
    static_cast<void>(preflight.documents(search_.search_documents, search_.target_length, search_.search_count));
    preflight.judge(search_.heldout_documents,
                    preflight.documents(search_.heldout_documents, search_.target_length, search_.heldout_count));
    if (search_.final_documents.empty()) return;
    preflight.judge(search_.final_documents,
                    preflight.documents(search_.final_documents, search_.target_length, search_.final_count));
  }

  void add_cost(const Config& config, const ModelDescription& model, StageCost& cost) const override {
    require_search_possible(search_, model, reached_length(config, stage_, model),
                            fmt::format("stage {}, {}", stage_.name, config.file.string()));
    // A checkpoint that is trained until then may have an attention factor of its own, and three baselines more.
    const std::int64_t baselines = std::ssize(stage_baselines(model.geometry, model.scaling, search_.target_length));
    const std::int64_t heldout = documents_in(search_.heldout_documents, search_.heldout_count, cost);
    const std::int64_t documents = documents_in(search_.search_documents, search_.search_count, cost);
    std::int64_t passes = baselines * heldout;
    if (search_.search.method == SearchMethod::kGradient) {
      passes += search_.stop.max_passes.value_or(kDefaultPasses);  // how many candidates that are depends on the model
    } else {
      cost.candidates = search_.stop.max_candidates.value_or(static_cast<std::int64_t>(default_budget(search_.search)));
      passes += cost.candidates * documents + std::min(search_.finalists, cost.candidates) * heldout;
    }
    if (!search_.final_documents.empty()) {
      passes += (1 + baselines) * documents_in(search_.final_documents, search_.final_count, cost);
    }
    cost.add_passes(model, search_.target_length, passes);
    cost.add_scoring_memory(model, config.dtype);
    cost.max_devices = cost.passes;
  }

  void add_inputs(const PipelineStageRecord& /*record*/, const PipelinePlaces& places,
                  StageInputs& inputs) const override {
    inputs.add("search_documents", search_.search_documents);
    inputs.add("heldout_documents", search_.heldout_documents);
    inputs.add("final_documents", search_.final_documents);
    for (const std::string& seed : search_.seed_stages) inputs.add("seed " + seed, places.winner(seed));
  }

  [[nodiscard]] StageWork work(const PipelineStageRecord& record, const PipelineContext& context) const override {
    const fs::path winner = context.places.winner(record.name);
    if (fs::exists(winner)) return {WorkEnd::kDone, winner, ""};
    const Config config = search_config(record, context);
    const auto found = context.tools.search(config, context.checkpoints.identified(config.model),
                                            context.places.search_database(record.name));
    if (!found) return {WorkEnd::kStopped, {}, ""};
    if (const auto verdict = context.tools.verdict(context.places.search_database(record.name))) {
      for (const std::string& line : verdict_lines(*verdict)) context.tools.say(line);
    }
    write_factors_json(*found, winner);
    return {WorkEnd::kDone, winner, ""};
  }

 private:
  void require_searchable(const Preflight& preflight) const;
  void require_n_hat_taken(const Preflight& preflight) const;
  [[nodiscard]] Config search_config(const PipelineStageRecord& record, const PipelineContext& context) const;
  [[nodiscard]] fs::path write_seed(const std::string& seed_stage, const PipelineStageRecord& record,
                                    const PipelineContext& context) const;

  const PipelineStage& stage_;
  const SearchStage& search_;
};

void SearchDriver::require_searchable(const Preflight& preflight) const {
  const std::int64_t reached_length = preflight.reached_length(stage_);
  if (search_.recovery && search_.target_length > reached_length) {
    throw InputError(
        fmt::format("target_length of a recovery must be within the {} tokens that its checkpoint "
                    "reaches: {}",
                    reached_length, search_.target_length));
  }
  if (!search_.recovery && search_.target_length <= reached_length) {
    throw InputError(fmt::format("target_length must exceed the {} tokens that the checkpoint reaches: {}",
                                 reached_length, search_.target_length));
  }
  require_n_hat_taken(preflight);
  require_search_possible(search_, preflight.model(), reached_length, preflight.config().file.string());
}

/// Leading positions that keep their angle are for a search that ends a pipeline.
void SearchDriver::require_n_hat_taken(const Preflight& preflight) const {
  std::int64_t n_hat = *std::ranges::max_element(search_.search.n_hat_choices);
  for (const fs::path& file : search_.search.seed_files) {
    n_hat = std::max(n_hat, read_factors(file, search_.target_length).n_hat);
  }
  if (n_hat == 0) return;
  const auto refuse = [&](const std::string& why) {
    throw InputError(fmt::format("n_hat must be 0 {}: {}", why, n_hat));
  };
  if (search_.recovery) refuse("for a recovery, whose table goes into exports");
  if (!stage_.model.empty() || preflight.model().scaling.scaled()) {
    refuse("on a checkpoint that carries rope scaling");
  }
  for (const PipelineStage& taker : preflight.config().stages) {
    const bool writes_model = taker.kind == StageKind::kFinetune || taker.kind == StageKind::kExport;
    if (writes_model && taker.factors == stage_.name) {
      refuse(fmt::format("for factors that go into a checkpoint, as stage {} does", taker.name));
    }
  }
}

/// The winner of an earlier search on the same checkpoint, for another length: what it adds to the checkpoint's own
/// factors, by the rule of spec §2.8.
fs::path SearchDriver::write_seed(const std::string& seed_stage, const PipelineStageRecord& record,
                                  const PipelineContext& context) const {
  FactorsFile::Entry seed = context.places.winning_factors(seed_stage);
  const ModelDescription& model = context.checkpoints.description(context.places.checkpoint(record.model));
  const auto ratio = [&](std::int64_t length) {
    return static_cast<double>(length) / static_cast<double>(model.scaling.reached_length);
  };
  std::vector<double>& lambda = seed.factors.lambda;
  const std::vector<double>& own = model.scaling.beyond_original.lambda;
  const auto over_own = [&](auto operation) {
    if (model.scaling.scaled()) std::ranges::transform(lambda, own, lambda.begin(), operation);
  };
  over_own(std::divides<>());
  lambda = length_dynamic_factors(lambda, ratio(seed.target_length), ratio(search_.target_length));
  over_own(std::multiplies<>());
  seed.factors = exact_factors(std::move(lambda), seed.factors.n_hat, seed.factors.attention);
  seed.target_length = search_.target_length;
  FactorsFile file;
  file.entries.push_back(std::move(seed));
  fs::path out = context.places.folder(record.name) / fmt::format("seed-{}.json", seed_stage);
  write_factors_json(file, out);
  return out;
}

/// What only this stage of the configuration searches, on the checkpoint that it takes.
Config SearchDriver::search_config(const PipelineStageRecord& record, const PipelineContext& context) const {
  Config config = context.config;
  config.model = context.places.checkpoint(record.model);
  config.reached_length = context.checkpoints.reached_length(config.model);
  config.stages = {stage_};
  SearchStage& search = std::get<SearchStage>(config.stages.front().work);
  if (search.recovery) {
    // Hugging Face has one attention factor for the short and the long table.
    search.search.attention_policies = {AttentionPolicy::kValue};
    search.search.attention_value = context.places.winning_factors(record.factors).factors.attention.value;
  }
  for (const std::string& seed_stage : std::exchange(search.seed_stages, {})) {
    search.search.seed_files.push_back(write_seed(seed_stage, record, context));
  }
  return config;
}

}  // namespace

std::unique_ptr<StageDriver> make_search_driver(const PipelineStage& stage) {
  return std::make_unique<SearchDriver>(stage);
}

}  // namespace longrope
