#pragma once

#include "common/formats/factors_file.h"
#include "coordinator/store/pipeline_store.h"
#include "pipeline/pipeline_run.h"
#include "tests/support/constant_weights.h"
#include "tests/support/prepared_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

/// A pipeline over a model of a few weights: search, fine-tuning, search on what it gives, recovery, evaluation,
/// export. Searches and children are fakes that leave what the real ones leave, and count.
class PipelineFixture : public testing::Test {
 protected:
  static constexpr std::int64_t kOriginalLength = 64;

  void SetUp() override {
    write_model(model_, 1.0F);
    config_.file = directory_ / "pipeline.toml";
    config_.name = "small";
    config_.model = model_;
    write_to(search_, {document_of("s", 1, 256)});
    write_to(heldout_, {document_of("h", 2, 256)});
    write_to(train_, {document_of("t", 3, 256)});
    write_to(final_, {document_of("f", 4, 256)});
    add_search("128", StageKind::kSearch, "", 128);
    FinetuneStage finetune;
    finetune.documents = train_;
    finetune.settings.steps = 4;
    config_.stages.push_back({.name = "tune", .kind = StageKind::kFinetune, .factors = "128", .work = finetune});
    add_search("256", StageKind::kSearch, "tune", 256);
    add_search("short", StageKind::kRecover, "tune", kOriginalLength);
    EvaluateStage evaluate;
    evaluate.documents = final_;
    evaluate.lengths = {kOriginalLength, 256};
    config_.stages.push_back(
        {.name = "tables", .kind = StageKind::kEvaluate, .model = "tune", .factors = "256", .work = evaluate});
    config_.stages.push_back(
        {.name = "out", .kind = StageKind::kExport, .model = "tune", .factors = "256", .work = ExportStage{}});
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// A model directory; `value` tells one from another.
  static void write_model(const std::filesystem::path& folder, float value) {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json")
        << R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 258, "hidden_size": 8, "intermediate_size": 8,)"
        << R"( "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8, "max_position_embeddings": 64,)"
        << R"( "rope_theta": 10000.0})";
    write_weights(folder, value);
  }
  static void write_weights(const std::filesystem::path& folder, float value) {
    ConstantWeights(describe_model(folder), value).write(folder);
  }

  void add_search(const std::string& name, StageKind kind, const std::string& model, std::int64_t length) {
    SearchStage search;
    search.name = name;
    search.target_length = length;
    search.search_documents = search_;
    search.heldout_documents = heldout_;
    search.recovery = kind == StageKind::kRecover;
    config_.stages.push_back({.name = name,
                              .kind = kind,
                              .model = model,
                              .factors = kind == StageKind::kRecover ? "256" : "",
                              .work = search});
  }

  /// Runs as a process of its own would: with nothing in memory.
  PipelineEnd run() {
    const PipelineTools tools = {
        .search = [this](const Config& config, const IdentifiedModel&,
                         const std::filesystem::path& database) -> std::optional<FactorsFile> {
          calls_.push_back("search " + config.stages.front().name);
          searched_.push_back(config);
          if (stop_) return std::nullopt;
          std::ofstream(database) << "searched";
          FactorsFile::Entry entry;
          entry.id = config.stages.front().name;
          entry.target_length = std::get<SearchStage>(config.stages.front().work).target_length;
          entry.factors = exact_factors({1.0, 1.5, 2.0, 2.0}, 0, {AttentionPolicy::kValue, 1.1});
          FactorsFile file;
          file.entries.push_back(entry);
          return file;
        },
        .verdict = [this](const std::filesystem::path& database) -> std::optional<Verdict> {
          const auto scores = verdicts_.find(database.parent_path().filename().string());
          return scores == verdicts_.end() ? std::nullopt : std::optional(judge(scores->second));
        },
        .run_children = [this](const std::vector<Child>& children) { return run_children(children); },
        .worker_program = [] { return "longrope-worker"; },
        .say = [this](const std::string& line) { said_.push_back(line); }};
    return run_pipeline(config_, database_, tools);
  }

  /// Those that work together leave what the first of them leaves.
  ChildEnd run_children(const std::vector<Child>& children) {
    started_.push_back(children);
    return run_child(children.front());
  }
  ChildEnd run_child(const Child& child) {
    calls_.push_back(child.command.size() > 1 ? child.command[1] : child.command[0]);
    if (stop_ || calls_.back() == stop_in_) return {.stopped = true};
    if (!failure_.empty()) return {.last_line = failure_};
    const auto option = [&](const std::string& name) {
      return std::filesystem::path(*(std::ranges::find(child.command, name) + 1));
    };
    if (child.command.front() != "longrope-worker") {
      for (const auto& [name, value] : child.environment) {
        if (name == "LONGROPE_CHECKPOINT" && leaves_checkpoint_) train_from(directory_ / child.folder / "model", value);
      }
    } else if (child.command[1] == "finetune") {
      write_model(option("--out"), 2.0F);
    } else {
      for (const char* const file : {"--json-out", "--markdown-out", "--csv-out"}) {
        std::ofstream(option(file)) << "measured";
      }
    }
    return {.success = true};
  }
  /// What a trainer leaves that keeps to the rules.
  static void train_from(const std::filesystem::path& handed, const std::filesystem::path& checkpoint) {
    std::filesystem::create_directories(checkpoint);
    std::filesystem::copy_file(handed / "config.json", checkpoint / "config.json");
    write_weights(checkpoint, 3.0F);
  }

  PipelineStage& stage(const std::string& name) {
    return *std::ranges::find(config_.stages, name, &PipelineStage::name);
  }
  FinetuneStage& finetune() { return std::get<FinetuneStage>(stage("tune").work); }
  [[nodiscard]] PipelineStageRecord row(const std::string& name) const {
    return stage_named(read_pipeline_record(database_).stages, name);
  }
  [[nodiscard]] PipelineStageState state(const std::string& name) const { return row(name).state; }
  [[nodiscard]] std::filesystem::path folder(const std::string& name) const {
    return directory_ / "small.stages" / name;
  }

  std::filesystem::path directory_ = fresh_directory(folder_in_memory());
  std::filesystem::path database_ = directory_ / "small.db";
  std::filesystem::path model_ = directory_ / "model";
  std::filesystem::path search_ = directory_ / "search.safetensors";
  std::filesystem::path heldout_ = directory_ / "heldout.safetensors";
  std::filesystem::path train_ = directory_ / "train.safetensors";
  std::filesystem::path final_ = directory_ / "final.safetensors";
  Config config_;
  std::vector<std::string> calls_;           // what the fakes were called for
  std::vector<Config> searched_;             // the configuration of each search
  std::vector<std::vector<Child>> started_;  // those that were started together, in order
  std::vector<std::string> said_;
  std::map<std::string, WinnerScores> verdicts_;  // what judges searches, by stage
  bool stop_ = false;                             // a signal has come
  std::string stop_in_;                           // it comes in children that are called for this
  std::string failure_;                           // why children fail; empty: they do not
  bool leaves_checkpoint_ = true;                 // whether a command of the user's does
};

}  // namespace longrope
