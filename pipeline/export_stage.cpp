#include "common/formats/engine_tables.h"
#include "common/formats/hugging_face_export.h"
#include "evaluation/verdict_text.h"
#include "pipeline/length_tables.h"
#include "pipeline/stage.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;

/// Hugging Face has one attention factor for both tables. What a recovery searched was searched with it; a checkpoint's
/// own factors have what they were trained with.
void share_attention_factor(EngineTables& tables, const PipelineContext& context) {
  RescaleFactors& own = tables.short_table->factors;
  if (own.attention.value == tables.factors.attention.value) return;
  context.tools.say(fmt::format(
      "longrope: warning: up to {0} tokens the checkpoint's own factors get the attention factor of the long ones, {1} "
      "for {2}; a recovery for {0} tokens searches better ones",
      tables.short_table->max_length, tables.factors.attention.value, own.attention.value));
  own.attention = tables.factors.attention;
}

/// A Hugging Face model directory with the tables of the schedule.
class ExportDriver final : public StageDriver {
 public:
  explicit ExportDriver(const PipelineStage& stage) : stage_(stage), export_(std::get<ExportStage>(stage.work)) {}

  void check(Preflight& /*preflight*/) const override {}
  void add_cost(const Config& /*config*/, const ModelDescription& /*model*/, StageCost& /*cost*/) const override {}

  void add_inputs(const PipelineStageRecord& record, const PipelinePlaces& places, StageInputs& inputs) const override {
    add_tables(record, places, inputs);
  }

  [[nodiscard]] StageWork work(const PipelineStageRecord& record, const PipelineContext& context) const override {
    const fs::path out = context.places.folder(record.name) / fmt::format("{}-{}", context.config.name, record.name);
    if (fs::exists(out)) return {WorkEnd::kDone, out, ""};
    const fs::path checkpoint = context.places.checkpoint(record.model);
    const ModelDescription& model = context.checkpoints.description(checkpoint);
    const FactorsFile schedule = length_tables(record, context.places, context.checkpoints);
    const std::int64_t original_length = model.geometry.original_length;
    if (const auto warning = tables_left_out(schedule, original_length)) {
      context.tools.say("longrope: warning: " + *warning);
    }
    EngineTables tables = engine_tables(schedule, original_length, "stage " + record.name);
    require_searches_won(tables, record, context);
    const RopeScaling& own = model.scaling;
    if (!tables.short_table && own.reached_length >= tables.target_length) {
      // The checkpoint was trained for all that it is exported for.
      tables.short_table = {.factors = own.up_to_original, .max_length = original_length};
    }
    if (tables.short_table &&
        (tables.short_table->factors == own.up_to_original || tables.short_table->factors == own.beyond_original)) {
      share_attention_factor(tables, context);
    }
    export_hugging_face(model, tables, out, parse_hugging_face_target(export_.target));
    return {WorkEnd::kDone, out, ""};
  }

 private:
  void require_searches_won(const EngineTables& tables, const PipelineStageRecord& record,
                            const PipelineContext& context) const;
  void require_won(const PipelineStageRecord& searched, const PipelineContext& context) const;

  const PipelineStage& stage_;
  const ExportStage& export_;
};

/// The searches whose tables are exported. One on an earlier checkpoint says nothing of this one, which was trained
/// with its factors since.
void ExportDriver::require_searches_won(const EngineTables& tables, const PipelineStageRecord& record,
                                        const PipelineContext& context) const {
  std::vector<const PipelineStageRecord*> searches = table_stages(record, context.places);
  searches.push_back(&stage_named(context.places.stages(), record.factors));
  for (const PipelineStageRecord* const searched : searches) {
    const std::int64_t length = context.places.winning_factors(searched->name).target_length;
    const bool exported =
        length == tables.target_length || (tables.short_table && length == tables.short_table->max_length);
    if (exported && searched->model == record.model) require_won(*searched, context);
  }
}

void ExportDriver::require_won(const PipelineStageRecord& searched, const PipelineContext& context) const {
  const auto warn = [&](const std::string& warning) {
    context.tools.say(fmt::format("longrope: warning: stage {}: {}", searched.name, warning));
  };
  const fs::path database = context.places.search_database(searched.name);
  if (!fs::exists(database)) return warn("no verdict, because its search is gone: " + database.string());
  const std::optional<Verdict> verdict = context.tools.verdict(database);
  if (!verdict) return;
  require_worth_exporting(
      *verdict,
      {.forced = export_.force,
       .rule = "factors must not be worse than the checkpoint without them, unless the stage has force = true",
       .forced_by = "force",
       .place = fmt::format(" (stage {}){}", searched.name, stage_.place)},
      warn);
}

}  // namespace

std::unique_ptr<StageDriver> make_export_driver(const PipelineStage& stage) {
  return std::make_unique<ExportDriver>(stage);
}

}  // namespace longrope
