#pragma once

#include "common/formats/factors_file.h"
#include "config/config.h"
#include "coordinator/processes/child_process.h"
#include "evaluation/verdict.h"
#include "pipeline/checkpoints.h"
#include "pipeline/pipeline_places.h"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {

class Preflight;
struct StageCost;

/// What the work on stages is done with: functions, so that tests hand in their own.
struct PipelineTools {
  /// Runs the search of `config`, whose model is `model`, with `database` to its end; the winner as a canonical factors
  /// file, or nullopt when a signal has stopped it. Throws as search_locally() and winner_of_search().
  std::function<std::optional<FactorsFile>(const Config& config, const IdentifiedModel& model,
                                           const std::filesystem::path& database)>
      search;
  /// The verdict on the winner of the search with `database`; nullopt: it has none yet. Throws InputError for another
  /// file.
  std::function<std::optional<Verdict>(const std::filesystem::path& database)> verdict;
  /// run_children(): several children work together.
  std::function<ChildEnd(const std::vector<Child>& children)> run_children;
  /// The program that fine-tunes and evaluates. Throws Error when it is not there.
  std::function<std::filesystem::path()> worker_program;
  std::function<void(const std::string& line)> say;  // tells a person who waits what happens; a line each
};

/// What the stages of a pipeline are given to work with. All of it outlives the work. `config.devices` are those of
/// this machine: empty means the CPU.
struct PipelineContext {
  const Config& config;
  std::filesystem::path database;
  const PipelinePlaces& places;
  Checkpoints& checkpoints;
  const PipelineTools& tools;
};

enum class WorkEnd { kDone, kStopped, kWaiting };

struct StageWork {
  WorkEnd end = WorkEnd::kDone;
  std::filesystem::path output;  // where it lies, when the stage is done
  std::string detail;            // what the stage waits for, when it does
};

/// Where everything lies that a stage takes, by what it is: "model", "factors", "search_documents", …
class StageInputs {
 public:
  /// Several of one name are told apart by a number; an empty path is none.
  void add(const std::string& name, const std::filesystem::path& file);
  [[nodiscard]] const std::map<std::string, std::filesystem::path>& files() const& { return files_; }
  void files() && = delete;  // a loop over the files of a temporary would outlive them

 private:
  std::map<std::string, std::filesystem::path> files_;
};

/// All that a pipeline asks of a stage. Each kind of stage has one implementation, in a source of its own; it keeps a
/// reference to its stage of the configuration and no state.
class StageDriver {
 public:
  StageDriver() = default;
  virtual ~StageDriver() = default;
  StageDriver(const StageDriver&) = delete;
  StageDriver& operator=(const StageDriver&) = delete;

  /// Refuses with InputError, before anything is done, what the stage could not do when its turn comes.
  virtual void check(Preflight& preflight) const = 0;
  /// Adds what the stage computes at most, on a model that is `model`. Throws InputError for numbers of the stage that
  /// check() refuses without reading documents or weights, because --dry-run asks for the cost alone.
  virtual void add_cost(const Config& config, const ModelDescription& model, StageCost& cost) const = 0;
  /// Adds what only this kind takes, beside checkpoint and factors.
  virtual void add_inputs(const PipelineStageRecord& record, const PipelinePlaces& places,
                          StageInputs& inputs) const = 0;
  /// Does the stage, or goes on with it; its folder is there. Throws Error or InputError when it cannot be done.
  [[nodiscard]] virtual StageWork work(const PipelineStageRecord& record, const PipelineContext& context) const = 0;
};

/// `stage` must outlive what is made.
[[nodiscard]] std::unique_ptr<StageDriver> make_driver(const PipelineStage& stage);

[[nodiscard]] std::unique_ptr<StageDriver> make_search_driver(const PipelineStage& stage);
[[nodiscard]] std::unique_ptr<StageDriver> make_finetune_driver(const PipelineStage& stage);
[[nodiscard]] std::unique_ptr<StageDriver> make_evaluate_driver(const PipelineStage& stage);
[[nodiscard]] std::unique_ptr<StageDriver> make_export_driver(const PipelineStage& stage);

/// Tokens that the checkpoint reaches which `stage` takes: as far as the factors that it was trained with, or as far as
/// the untouched `model`. Fine-tunings in `skipped` are as if they were not there.
[[nodiscard]] std::int64_t reached_length(const Config& config, const PipelineStage& stage,
                                          const ModelDescription& model, const std::set<std::string>& skipped = {});

/// Everything that the stage takes. Throws InputError when a stage that it builds on is not finished.
[[nodiscard]] StageInputs stage_inputs(const StageDriver& stage, const PipelineStageRecord& record,
                                       const PipelinePlaces& places);

/// Adds the tables that go into the schedule of an evaluation or an export to its inputs.
void add_tables(const PipelineStageRecord& record, const PipelinePlaces& places, StageInputs& inputs);

/// Runs the children that do the work of a stage: false when they were stopped by a signal to this process. Throws
/// Error, with the reason that they gave, when one fails.
[[nodiscard]] bool run_to_end(const std::vector<Child>& children, const char* failure,
                              const PipelineStageRecord& record, const PipelineContext& context);

/// The devices that the stages of `config` compute on: its own, or the CPU where it names none.
[[nodiscard]] std::vector<std::string> stage_devices(const Config& config);

}  // namespace longrope
