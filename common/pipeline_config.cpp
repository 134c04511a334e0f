#include "common/pipeline_config.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "common/overloaded.h"
#include "common/stage_keys.h"
#include "common/toml_keys.h"

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

/// Keys that every kind has beside its own.
struct Links {
  std::string model;
  std::string factors;
};

template <typename Target>
void add_common_keys(TomlKeys<Target>& keys, std::string& name, Links& links) {
  keys.push_back({"kind", [](Target&, const TomlValue&) {}});  // chosen by it
  keys.push_back({"name",
                  [&name](Target&, const TomlValue& value) {
                    PipelineStage stage;
                    const Read<PipelineStage> read = identifier(&PipelineStage::name);
                    read(stage, value);
                    name = stage.name;
                  },
                  /*required=*/true});
  keys.push_back({"model", [&links](Target&, const TomlValue& value) { links.model = value.text(); }});
  keys.push_back({"factors", [&links](Target&, const TomlValue& value) { links.factors = value.text(); }});
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
         for (const TomlValue& word : value.elements()) stage.command.push_back(word.text());
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
Work read_work(const TomlValue& table, TomlKeys<Work> keys, PipelineStage& stage, Links& links) {
  Work work;
  add_common_keys(keys, stage.name, links);
  read_toml_table(table, keys, work);
  return work;
}

PipelineStage read_stage(const TomlValue& table, Links& links) {
  PipelineStage stage;
  stage.place = table.place();
  if (const toml::node* kind = table.node.as_table()->get("kind")) {
    stage.kind = TomlValue{"kind", *kind, table.file}.parsed(&parse_stage_kind);
  }
  switch (stage.kind) {
    case StageKind::kSearch:
    case StageKind::kRecover: {
      StageConfig search = read_search_stage(table);
      search.recovery = stage.kind == StageKind::kRecover;
      stage.name = search.name;
      links = {search.model_stage, search.factors_stage};
      stage.work = std::move(search);
      break;
    }
    case StageKind::kFinetune: {
      FinetuneStage work = read_work(table, finetune_keys(), stage, links);
      check_finetune(work, table);
      stage.work = std::move(work);
      break;
    }
    case StageKind::kEvaluate:
      stage.work = read_work(table, evaluate_keys(), stage, links);
      break;
    case StageKind::kExport:
      stage.work = read_work(table, export_keys(), stage, links);
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

std::int64_t FinetuneStage::number(std::string_view option, std::int64_t otherwise) const {
  const auto found = std::ranges::find(options, option, &std::pair<std::string, std::string>::first);
  if (found == options.end()) return otherwise;
  std::int64_t value = 0;
  std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);  // written as an integer
  return value;
}

std::vector<PipelineStage> read_pipeline(const TomlValue& stages) {
  const toml::array* array = stages.node.as_array();
  if (array == nullptr || array->empty() || !array->is_homogeneous<toml::table>()) {
    stages.refuse("must be an array of tables, each written [[stage]]");
  }
  std::vector<PipelineStage> read;
  for (const toml::node& node : *array) {
    Links links;
    PipelineStage stage = read_stage({"[[stage]]", node, stages.file}, links);
    if (std::ranges::find(read, stage.name, &PipelineStage::name) != read.end()) {
      throw InputError("stage names must differ: " + stage.name + stage.place);
    }
    stage.model = linked(read, links.model, StageKind::kFinetune, "model", stage);
    if (stage.kind != StageKind::kSearch) {
      stage.factors = linked(read, links.factors, StageKind::kSearch, "factors", stage);
      if (stage.factors.empty()) {
        throw InputError(fmt::format("a {} stage must have a search stage before it: {}{}", to_string(stage.kind),
                                     stage.name, stage.place));
      }
    } else if (!links.factors.empty()) {
      throw InputError(fmt::format("factors must not be given for a search: {}{}", links.factors, stage.place));
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
                     // A file is known by its digest; these two change no bit.
                     const bool no_setting =
                         name == "short_documents" || name == "checkpoint_interval" || name == "recompute";
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
