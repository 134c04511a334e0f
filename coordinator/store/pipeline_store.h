#pragma once

#include "config/pipeline_config.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// In life order; the words are those of the schema. A waiting stage is the user's to end (`longrope stage complete`).
enum class PipelineStageState { kPending, kRunning, kWaiting, kFinished, kFailed, kSkipped };
[[nodiscard]] std::string_view to_string(PipelineStageState state);  // "pending", …

struct PipelineStageRecord {
  std::int64_t id = 0;  // 1, 2, … in configuration order
  std::string name;
  StageKind kind = StageKind::kSearch;
  std::string settings;  // canonical JSON
  std::string model;     // as PipelineStage
  std::string factors;
  PipelineStageState state = PipelineStageState::kPending;
  std::map<std::string, std::string> inputs;  // digest of each input, by its name: "model", "search_documents", …
  std::filesystem::path output;               // relative to the database's folder unless it lies elsewhere
  std::string output_digest;                  // empty unless finished
  std::string detail;                         // why the stage failed, or what it waits for
  std::int64_t active_milliseconds = 0;
  std::int64_t started_at = 0;  // Unix milliseconds, for people
  std::int64_t ended_at = 0;
};

struct PipelineRecord {
  std::string name;
  std::string config_file;
  std::string config_text;
  std::string settings;  // canonical JSON of the settings that all stages share; another value: another pipeline
  std::string software_version;
  std::vector<PipelineStageRecord> stages;
};

/// Throws InputError, listing the names, for a stage that does not exist.
[[nodiscard]] const PipelineStageRecord& stage_named(const std::vector<PipelineStageRecord>& stages,
                                                     std::string_view name);

/// Whether the file is a pipeline's database; false also for a missing one and for what is no database.
[[nodiscard]] bool is_pipeline(const std::filesystem::path& file);

/// Reads a pipeline's database, also while another process writes to it. Throws InputError as StoreReader does.
[[nodiscard]] PipelineRecord read_pipeline_record(const std::filesystem::path& file);

/// The one writer of a pipeline's database, with the guarantees of Store. Not thread-safe.
class PipelineStore {
 public:
  /// Opens a pipeline's database and takes the writer's lock. Throws InputError when there is none, or another process
  /// holds the lock.
  explicit PipelineStore(const std::filesystem::path& file);
  /// Opens or creates the database of `pipeline` and takes the writer's lock. Stages that have not begun, or have
  /// failed, get the settings of `pipeline`; a stage that has begun must be in `pipeline` with the settings that it
  /// began with. Throws InputError naming the first that is not, leaving the stages as they were.
  PipelineStore(const std::filesystem::path& file, const PipelineRecord& pipeline);
  ~PipelineStore();

  [[nodiscard]] const std::vector<PipelineStageRecord>& stages() const;
  /// Durable when it returns. Throws Error when it cannot.
  void write(const PipelineStageRecord& stage);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace longrope
