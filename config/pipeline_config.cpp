#include "config/pipeline_config.h"

#include "common/error.h"
#include "common/overloaded.h"
#include "config/stage_keys.h"
#include "config/toml_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace longrope {
namespace {

using FinetuneKey = TomlKey<FinetuneStage>;

FinetuneKey count_option(std::string_view name, std::int64_t low, std::int64_t high = kMaxTomlCount) {
  return {name, [=](FinetuneStage& stage, const TomlValue& value) {
            stage.options.emplace_back(name, std::to_string(value.integer(low, high)));
          }};
}
FinetuneKey number_option(std::string_view name, NumberRange range) {
  return {name, [=](FinetuneStage& stage, const TomlValue& value) {
            stage.options.emplace_back(name, fmt::format("{}", value.number(range)));
          }};
}
FinetuneKey word_option(std::string_view name, std::vector<std::string_view> words) {
  return {name, [name, words = std::move(words)](FinetuneStage& stage, const TomlValue& value) {
            const std::string word = value.text();
            if (std::ranges::find(words, word) == words.end()) {
              value.refuse(fmt::format("must be among {}", fmt::join(words, ", ")));
            }
            stage.options.emplace_back(name, word);
          }};
}

/// The keys that all kinds have, and those of one kind. The former go into `stage`.
template <typename Work>
TomlKeys<Work> with_common_keys(TomlKeys<Work> keys, PipelineStage& stage) {
  const Read<PipelineStage> read_name = identifier(&PipelineStage::name);
  const TomlKeys<Work> common = {
      {"kind", [](Work&, const TomlValue&) {}},  // chosen by it
      {"name", [&stage, read_name](Work&, const TomlValue& value) { read_name(stage, value); }, /*required=*/true},
      {"model", [&stage](Work&, const TomlValue& value) { stage.model = value.text(); }},
      {"factors", [&stage](Work&, const TomlValue& value) { stage.factors = value.text(); }},
  };
  keys.insert(keys.begin(), common.begin(), common.end());
  return keys;
}

TomlKeys<FinetuneStage> finetune_keys() {
  using S = FinetuneStage;
  constexpr NumberRange kBelowOne{.low = 0.0, .high = 0.999999999};
  constexpr NumberRange kPositive{.low = 0.0, .high = 1000.0, .low_excluded = true};
  return {
      {"documents", path(&S::documents)},
      {"length", integer(&S::length, 2, kMaxTomlLength)},
      count_option("steps", 1),
      count_option("batch_size", 1),
      count_option("micro_batch_size", 1),
      {"short_documents",
       [](S& stage, const TomlValue& value) {
         stage.options.emplace_back("short_documents", std::filesystem::absolute(value.path()).string());
       }},
      count_option("short_length", 2, kMaxTomlLength),
      count_option("short_batch_size", 1),
      number_option("learning_rate", kPositive),
      word_option("schedule", {"linear", "cosine", "constant"}),
      count_option("warmup_steps", 0),
      number_option("beta1", kBelowOne),
      number_option("beta2", kBelowOne),
      number_option("epsilon", kPositive),
      number_option("weight_decay", {.low = 0.0, .high = 1000.0}),
      number_option("max_gradient_norm", {.low = 0.0, .high = 1e9}),
      count_option("checkpoint_interval", 1),
      count_option("threads", 1, 1024),
      word_option("dtype", {"fp32", "bf16"}),
      word_option("target", {"hf5", "hf4"}),
      {"recompute",
       [](S& stage, const TomlValue& value) {
         if (value.flag()) stage.options.emplace_back("recompute", "");
       }},
      {"command",
       [](S& stage, const TomlValue& value) {
         stage.command = value.words();
         if (stage.command.empty()) value.refuse("must name a program");
       }},
      {"by_hand", [](S& stage, const TomlValue& value) { stage.by_hand = value.flag(); }},
  };
}

TomlKeys<EvaluateStage> evaluate_keys() {
  using S = EvaluateStage;
  const auto paths = [](std::vector<std::filesystem::path> S::* member) {
    return [=](S& stage, const TomlValue& value) {
      for (const TomlValue& element : value.elements()) (stage.*member).push_back(element.path());
    };
  };
  return {
      {"documents", path(&S::documents), /*required=*/true},
      {"lengths",
       [](S& stage, const TomlValue& value) {
         for (const TomlValue& element : value.elements()) stage.lengths.push_back(element.integer(2, kMaxTomlLength));
         if (stage.lengths.empty()) value.refuse("must hold at least one length");
       },
       /*required=*/true},
      {"count", integer(&S::count, 1)},
      {"passkey", paths(&S::passkey)},
      {"needle", paths(&S::needle)},
      {"untouched", [](S& stage, const TomlValue& value) { stage.untouched = value.flag(); }},
  };
}

TomlKeys<ExportStage> export_keys() {
  return {{"target", [](ExportStage& stage, const TomlValue& value) {
             stage.target = value.text();
             if (stage.target != "hf5" && stage.target != "hf4") value.refuse("must be \"hf5\" or \"hf4\"");
           }}};
}

void check_finetune(const FinetuneStage& stage, const TomlValue& table) {
  const bool built_in = !stage.by_hand && stage.command.empty();
  if (stage.by_hand && !stage.command.empty()) {
    throw InputError("a fine-tuning must be a command or by_hand: both" + table.place());
  }
  if (built_in && stage.documents.empty()) {
    throw InputError("documents must be given for a fine-tuning that is neither a command nor by_hand" + table.place());
  }
  if (built_in && stage.number("steps", 0) == 0) {
    throw InputError("steps must be given for a fine-tuning that is neither a command nor by_hand" + table.place());
  }
}

template <typename Work>
Work read_work(const TomlValue& table, TomlKeys<Work> keys, PipelineStage& stage) {
  Work work;
  read_toml_table(table, with_common_keys(std::move(keys), stage), work);
  return work;
}

/// With `model` and `factors` as they are written.
PipelineStage read_stage(const TomlValue& table) {
  PipelineStage stage;
  stage.place = table.place();
  if (const toml::node* kind = table.node.as_table()->get("kind")) {
    stage.kind = TomlValue{"kind", *kind, table.file}.parsed(&parse_stage_kind);
  }
  switch (stage.kind) {
    case StageKind::kSearch:
    case StageKind::kRecover: {
      StageConfig search = read_work(table, search_stage_keys(), stage);
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

/// `wanted`, or the latest stage before that is of one of the kinds; empty without one.
std::string linked(const std::vector<PipelineStage>& before, const std::string& wanted, StageKind kind,
                   std::string_view key, const PipelineStage& stage) {
  for (auto candidate = before.rbegin(); candidate != before.rend(); ++candidate) {
    if (candidate->kind == kind && (wanted.empty() || candidate->name == wanted)) return candidate->name;
  }
  if (wanted.empty()) return "";
  throw InputError(
      fmt::format("{} must name a {} stage that comes before: {}{}", key, to_string(kind), wanted, stage.place));
}

/// Winners of other checkpoints are factors over other factors.
void require_seed_stages(const std::vector<PipelineStage>& before, const StageConfig& search,
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

std::optional<std::string> FinetuneStage::option(std::string_view name) const {
  const auto found = std::ranges::find(options, name, &std::pair<std::string, std::string>::first);
  return found == options.end() ? std::nullopt : std::optional(found->second);
}

std::int64_t FinetuneStage::number(std::string_view name, std::int64_t otherwise) const {
  const std::optional<std::string> text = option(name);
  return text ? std::stoll(*text) : otherwise;  // written as an integer
}

std::int64_t factors_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage) {
  return std::get<StageConfig>(std::ranges::find(pipeline, stage.factors, &PipelineStage::name)->work).target_length;
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
    if (const auto* search = std::get_if<StageConfig>(&stage.work)) require_seed_stages(read, *search, stage);
    read.push_back(std::move(stage));
  }
  return read;
}

nlohmann::json stage_settings(const PipelineStage& stage) {
  nlohmann::json settings = std::visit(
      Overloaded{[](const StageConfig& search) { return trajectory_settings(search); },
                 [](const FinetuneStage& finetune) {
                   nlohmann::json options = nlohmann::json::object();
                   for (const auto& [name, value] : finetune.options) {
                     // A file is known by its digest, and the training itself keeps its threads: by default they are
                     // the machine's, and who goes on at another one writes down the first one's. The others change
                     // no bit.
                     const bool no_setting = name == "short_documents" || name == "threads" ||
                                             name == "checkpoint_interval" || name == "recompute";
                     if (!no_setting) options[name] = value;
                   }
                   return nlohmann::json{{"length", finetune.length},
                                         {"options", std::move(options)},
                                         {"command", finetune.command},
                                         {"by_hand", finetune.by_hand}};
                 },
                 [](const EvaluateStage& evaluate) {
                   return nlohmann::json{{"lengths", evaluate.lengths},
                                         {"count", evaluate.count ? nlohmann::json(*evaluate.count) : nlohmann::json()},
                                         {"untouched", evaluate.untouched}};
                 },
                 [](const ExportStage& exported) { return nlohmann::json{{"target", exported.target}}; }},
      stage.work);
  settings["kind"] = to_string(stage.kind);
  settings["model"] = stage.model;
  settings["factors"] = stage.factors;
  return settings;
}

}  // namespace longrope
