#include "config/pipeline_config.h"

#include "common/error.h"
#include "common/overloaded.h"
#include "config/stage_keys.h"
#include "config/toml_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <type_traits>

namespace longrope {
namespace {

/// Reads one setting of a training; throws as TomlValue does.
template <typename T>
T read_setting(const TomlValue& value, const AllowedValues<T>& allowed) {
  if constexpr (std::is_same_v<T, std::int64_t>) {
    return value.integer(allowed.low, allowed.high);
  } else if constexpr (std::is_same_v<T, double>) {
    return value.number({.low = allowed.low, .high = allowed.high, .low_excluded = allowed.low_excluded});
  } else if constexpr (std::is_same_v<T, bool>) {
    return value.flag();
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return std::filesystem::absolute(value.path());  // other programs read it elsewhere
  } else {
    const std::string word = value.text();
    std::vector<std::string> words;
    for (const T known : allowed.values) words.push_back(setting_text(known));
    if (std::ranges::find(words, word) == words.end()) {
      value.refuse(fmt::format("must be among {}", fmt::join(words, ", ")));
    }
    return allowed.parse(word);
  }
}

TomlKeys<FinetuneStage> training_keys() {
  TomlKeys<FinetuneStage> keys;
  for_each_training_field([&]<typename T>(const TrainingField<T>& field) {
    if constexpr (!std::is_same_v<T, std::uint64_t>) {  // the seed, which is no key of a stage
      if (!field.stage_key) return;
      const auto read = [&field](FinetuneStage& stage, const TomlValue& value) {
        stage.settings.*field.member = read_setting<T>(value, field.allowed);
      };
      keys.push_back({field.name, {read, kNoIdentity}});  // stage_identity() has all of them
    }
  });
  return keys;
}

/// `keys`, which are those of one kind of stage, after the keys that all kinds have; the latter go into `stage`.
template <typename Work>
TomlKeys<Work> with_common_keys(TomlKeys<Work> keys, PipelineStage& stage) {
  const auto into_stage = [&stage](const typename TomlField<PipelineStage>::Read& read) {
    return TomlField<Work>([&stage, read](Work&, const TomlValue& value) { read(stage, value); }, kNoIdentity);
  };
  const auto text = [](std::string PipelineStage::* member) {
    return [=](PipelineStage& target, const TomlValue& value) { target.*member = value.text(); };
  };
  const TomlKeys<Work> common = {
      {"kind", into_stage([](PipelineStage&, const TomlValue&) {})},  // read before the others: it chooses the keys
      {"name", into_stage(identifier(&PipelineStage::name).read), /*required=*/true},
      {"model", into_stage(text(&PipelineStage::model))},
      {"factors", into_stage(text(&PipelineStage::factors))},
  };
  keys.insert(keys.begin(), common.begin(), common.end());
  return keys;
}

void read_command(FinetuneStage& stage, const TomlValue& value) {
  stage.command = value.words();
  if (stage.command.empty()) value.refuse("must name a program");
}

TomlKeys<FinetuneStage> finetune_keys() {
  using S = FinetuneStage;
  TomlKeys<S> keys = {
      {"documents", path(&S::documents)},
      {"length", integer(&S::length, 2, kMaxTomlLength)},
      {"command", {read_command, value_of(&S::command)}},
      {"by_hand", flag(&S::by_hand)},
  };
  const TomlKeys<S> settings = training_keys();
  keys.insert(keys.end(), settings.begin(), settings.end());
  return keys;
}

void read_lengths(EvaluateStage& stage, const TomlValue& value) {
  for (const TomlValue& element : value.elements()) stage.lengths.push_back(element.integer(2, kMaxTomlLength));
  if (stage.lengths.empty()) value.refuse("must hold at least one length");
}

TomlKeys<EvaluateStage> evaluate_keys() {
  using S = EvaluateStage;
  const auto paths = [](std::vector<std::filesystem::path> S::* member) {
    const auto read = [=](S& stage, const TomlValue& value) {
      for (const TomlValue& element : value.elements()) (stage.*member).push_back(element.path());
    };
    return TomlField<S>(read, kNoIdentity);
  };
  return {
      {"documents", path(&S::documents), /*required=*/true},
      {"lengths", {read_lengths, value_of(&S::lengths)}, /*required=*/true},
      {"count", integer(&S::count, 1)},
      {"passkey", paths(&S::passkey)},
      {"needle", paths(&S::needle)},
      {"untouched", flag(&S::untouched)},
  };
}

void read_target(ExportStage& stage, const TomlValue& value) {
  stage.target = value.text();
  if (stage.target != "hf5" && stage.target != "hf4") value.refuse("must be \"hf5\" or \"hf4\"");
}

TomlKeys<ExportStage> export_keys() {
  return {
      {"target", {read_target, value_of(&ExportStage::target)}},
      // It changes whether there is an output, and not which.
      {"force", {flag(&ExportStage::force).read, kNoIdentity}},
  };
}

void check_finetune(const FinetuneStage& stage, const TomlValue& table) {
  if (stage.by_hand && !stage.command.empty()) {
    throw InputError("a fine-tuning must be a command or by_hand: both" + table.place());
  }
  if (stage.built_in() && stage.documents.empty()) {
    throw InputError("documents must be given for a fine-tuning that is neither a command nor by_hand" + table.place());
  }
  if (stage.built_in() && !stage.settings.steps.given()) {
    throw InputError("steps must be given for a fine-tuning that is neither a command nor by_hand" + table.place());
  }
}

template <typename Work>
Work read_work(const TomlValue& table, TomlKeys<Work> keys, PipelineStage& stage) {
  Work work;
  read_toml_table(table, with_common_keys(std::move(keys), stage), work);
  return work;
}

/// Reads one stage; `model` and `factors` stay as they are written, so may be empty.
PipelineStage read_stage(const TomlValue& table) {
  PipelineStage stage;
  stage.place = table.place();
  if (const toml::node* kind = table.node.as_table()->get("kind")) {
    stage.kind = TomlValue{"kind", *kind, table.file}.parsed(&parse_stage_kind);
  }
  switch (stage.kind) {
    case StageKind::kSearch:
    case StageKind::kRecover: {
      SearchStage search = read_work(table, search_stage_keys(), stage);
      search.name = stage.name;
      search.recovery = stage.kind == StageKind::kRecover;
      check_search_stage(search, table);
      stage.work = std::move(search);
      break;
    }
    case StageKind::kFinetune: {
      FinetuneStage finetune = read_work(table, finetune_keys(), stage);
      check_finetune(finetune, table);
      stage.work = std::move(finetune);
      break;
    }
    case StageKind::kEvaluate:
      stage.work = read_work(table, evaluate_keys(), stage);
      break;
    case StageKind::kExport:
      stage.work = read_work(table, export_keys(), stage);
      break;
  }
  return stage;
}

/// Name of the stage that `key` of `stage` refers to: `wanted`, or the latest stage of this kind in `before` when
/// nothing is wanted; empty when there is none. Throws InputError when `wanted` is no such stage.
std::string linked(const std::vector<PipelineStage>& before, const std::string& wanted, StageKind kind,
                   std::string_view key, const PipelineStage& stage) {
  for (auto candidate = before.rbegin(); candidate != before.rend(); ++candidate) {
    if (candidate->kind == kind && (wanted.empty() || candidate->name == wanted)) return candidate->name;
  }
  if (wanted.empty()) return "";
  throw InputError(
      fmt::format("{} must name a {} stage that comes before: {}{}", key, to_string(kind), wanted, stage.place));
}

/// Winners found on another checkpoint would be factors over other factors, so they are refused as seeds.
void require_seed_stages(const std::vector<PipelineStage>& before, const SearchStage& search,
                         const PipelineStage& stage) {
  for (const std::string& name : search.seed_stages) {
    const auto seed = std::ranges::find(before, name, &PipelineStage::name);
    if (seed == before.end() || seed->kind != StageKind::kSearch || stage.kind != StageKind::kSearch ||
        seed->model != stage.model) {
      throw InputError(
          fmt::format("seed_stages of a search must name searches on the same checkpoint that come before it: {}{}",
                      name, stage.place));
    }
  }
}

}  // namespace

std::string_view to_string(StageKind kind) {
  constexpr std::array<std::string_view, 5> kWords = {"search", "finetune", "recover", "evaluate", "export"};
  return kWords.at(static_cast<std::size_t>(kind));
}

StageKind parse_stage_kind(std::string_view text) {
  for (const StageKind kind :
       {StageKind::kSearch, StageKind::kFinetune, StageKind::kRecover, StageKind::kEvaluate, StageKind::kExport}) {
    if (to_string(kind) == text) return kind;
  }
  throw InputError(fmt::format("kind must be search, finetune, recover, evaluate or export: {}", text));
}

std::int64_t factors_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage) {
  return std::get<SearchStage>(std::ranges::find(pipeline, stage.factors, &PipelineStage::name)->work).target_length;
}

std::int64_t sample_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage) {
  const std::int64_t own = std::get<FinetuneStage>(stage.work).length;
  return own != 0 ? own : factors_length(pipeline, stage);
}

std::vector<PipelineStage> read_pipeline(const TomlValue& stages) {
  const toml::array* array = stages.node.as_array();
  if (array == nullptr || array->empty() || !array->is_homogeneous<toml::table>()) {
    stages.refuse("must be an array of tables, each written [[stage]]");
  }
  std::vector<PipelineStage> read;
  for (const toml::node& node : *array) {
    PipelineStage stage = read_stage({"[[stage]]", node, stages.file});
    if (std::ranges::find(read, stage.name, &PipelineStage::name) != read.end()) {
      throw InputError("stage names must differ: " + stage.name + stage.place);
    }
    stage.model = linked(read, stage.model, StageKind::kFinetune, "model", stage);
    if (stage.kind != StageKind::kSearch) {
      stage.factors = linked(read, stage.factors, StageKind::kSearch, "factors", stage);
      if (stage.factors.empty()) {
        throw InputError(fmt::format("a {} stage must have a search stage before it: {}{}", to_string(stage.kind),
                                     stage.name, stage.place));
      }
    } else if (!stage.factors.empty()) {
      throw InputError(fmt::format("factors must not be given for a search: {}{}", stage.factors, stage.place));
    }
    if (const auto* search = std::get_if<SearchStage>(&stage.work)) require_seed_stages(read, *search, stage);
    read.push_back(std::move(stage));
  }
  return read;
}

nlohmann::json stage_settings(const PipelineStage& stage) {
  nlohmann::json settings =
      std::visit(Overloaded{[](const SearchStage& search) { return trajectory_settings(search); },
                            [](const FinetuneStage& finetune) {
                              nlohmann::json identity = identity_of(finetune_keys(), finetune);
                              identity["options"] = stage_identity(finetune.settings);
                              return identity;
                            },
                            [](const EvaluateStage& evaluate) { return identity_of(evaluate_keys(), evaluate); },
                            [](const ExportStage& exported) { return identity_of(export_keys(), exported); }},
                 stage.work);
  settings["kind"] = to_string(stage.kind);
  settings["model"] = stage.model;
  settings["factors"] = stage.factors;
  return settings;
}

}  // namespace longrope
