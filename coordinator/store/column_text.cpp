#include "coordinator/store/column_text.h"

#include "common/error.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cmath>
#include <utility>

namespace longrope {
namespace {

template <typename Enum>
struct Words;

template <>
struct Words<StageState> {
  static constexpr std::array kPairs{
      std::pair{StageState::kPending, "pending"}, std::pair{StageState::kSearching, "searching"},
      std::pair{StageState::kChoosing, "choosing"}, std::pair{StageState::kFinished, "finished"}};
};
template <>
struct Words<StageEnd> {
  static constexpr std::array kPairs{
      std::pair{StageEnd::kBudget, "budget"}, std::pair{StageEnd::kConverged, "converged"},
      std::pair{StageEnd::kTimeLimit, "time_limit"}, std::pair{StageEnd::kExhausted, "exhausted"}};
};
template <>
struct Words<CandidateRole> {
  static constexpr std::array kPairs{std::pair{CandidateRole::kSearch, "search"},
                                     std::pair{CandidateRole::kBaseline, "baseline"}};
};
template <>
struct Words<CandidateState> {
  static constexpr std::array kPairs{std::pair{CandidateState::kOpen, "open"}, std::pair{CandidateState::kTold, "told"},
                                     std::pair{CandidateState::kQuarantined, "quarantined"},
                                     std::pair{CandidateState::kCancelled, "cancelled"}};
};
template <>
struct Words<EvaluationState> {
  static constexpr std::array kPairs{
      std::pair{EvaluationState::kPending, "pending"}, std::pair{EvaluationState::kLeased, "leased"},
      std::pair{EvaluationState::kScored, "scored"}, std::pair{EvaluationState::kFailed, "failed"},
      std::pair{EvaluationState::kCancelled, "cancelled"}};
};
template <>
struct Words<EvaluationKind> {
  static constexpr std::array kPairs{std::pair{EvaluationKind::kScore, "score"},
                                     std::pair{EvaluationKind::kGradient, "gradient"}};
};
template <>
struct Words<PipelineStageState> {
  static constexpr std::array kPairs{
      std::pair{PipelineStageState::kPending, "pending"}, std::pair{PipelineStageState::kRunning, "running"},
      std::pair{PipelineStageState::kWaiting, "waiting"}, std::pair{PipelineStageState::kFinished, "finished"},
      std::pair{PipelineStageState::kFailed, "failed"},   std::pair{PipelineStageState::kSkipped, "skipped"}};
};
template <>
struct Words<DocumentPurpose> {
  static constexpr std::array kPairs{std::pair{DocumentPurpose::kSearch, "search"},
                                     std::pair{DocumentPurpose::kHeldout, "heldout"},
                                     std::pair{DocumentPurpose::kFinal, "final"}};
};
template <>
struct Words<LeaseEnd> {
  static constexpr std::array kPairs{std::pair{LeaseEnd::kScored, "scored"}, std::pair{LeaseEnd::kFailed, "failed"},
                                     std::pair{LeaseEnd::kRejected, "rejected"},
                                     std::pair{LeaseEnd::kExpired, "expired"},
                                     std::pair{LeaseEnd::kReleased, "released"}};
};
template <>
struct Words<WorkerState> {
  static constexpr std::array kPairs{std::pair{WorkerState::kConnected, "connected"},
                                     std::pair{WorkerState::kLost, "lost"}, std::pair{WorkerState::kLeft, "left"},
                                     std::pair{WorkerState::kRefused, "refused"}};
};

template <typename Enum>
std::string_view word(Enum value) {
  for (const auto& [known, text] : Words<Enum>::kPairs) {
    if (known == value) return text;
  }
  throw Error(fmt::format("the database has no word for the state {}", static_cast<int>(value)));
}

/// Runs `read` on the parsed text; whatever is not the expected shape becomes an Error.
template <typename Read>
auto parse_column(const std::string& text, Read read) {
  try {
    return read(nlohmann::json::parse(text));
  } catch (const nlohmann::json::exception& failure) {
    throw Error(fmt::format("a column holds no JSON array of numbers: {}", failure.what()));
  }
}

void require_finite(double value) {
  if (!std::isfinite(value)) throw Error(fmt::format("the database takes finite numbers only: {}", value));
}

}  // namespace

std::string_view column_text(StageState state) { return word(state); }
std::string_view column_text(StageEnd end) { return word(end); }
std::string_view column_text(CandidateRole role) { return word(role); }
std::string_view column_text(CandidateState state) { return word(state); }
std::string_view column_text(EvaluationState state) { return word(state); }
std::string_view column_text(EvaluationKind kind) { return word(kind); }
std::string_view column_text(LeaseEnd end) { return word(end); }
std::string_view column_text(WorkerState state) { return word(state); }
std::string_view column_text(PipelineStageState state) { return word(state); }
std::string_view column_text(DocumentPurpose purpose) { return word(purpose); }

template <typename Enum>
Enum from_column_text(std::string_view text) {
  for (const auto& [known, known_text] : Words<Enum>::kPairs) {
    if (text == known_text) return known;
  }
  throw Error(fmt::format("the database holds a state that this release does not know: {}", text));
}
template StageState from_column_text(std::string_view);
template StageEnd from_column_text(std::string_view);
template CandidateRole from_column_text(std::string_view);
template CandidateState from_column_text(std::string_view);
template EvaluationState from_column_text(std::string_view);
template EvaluationKind from_column_text(std::string_view);
template LeaseEnd from_column_text(std::string_view);
template WorkerState from_column_text(std::string_view);
template PipelineStageState from_column_text(std::string_view);

std::string json_array(const std::vector<double>& values) {
  for (const double value : values) require_finite(value);
  return nlohmann::json(values).dump();
}

std::string json_array(const std::vector<std::int32_t>& values) { return nlohmann::json(values).dump(); }

std::string json_array(const std::vector<ScoredBlock>& blocks) {
  nlohmann::json array = nlohmann::json::array();
  for (const ScoredBlock& block : blocks) {
    require_finite(block.nll_sum);
    array.push_back({block.nll_sum, block.scored_tokens});
  }
  return array.dump();
}

std::vector<double> doubles_from_json(const std::string& text) {
  return parse_column(text, [](const nlohmann::json& json) { return json.get<std::vector<double>>(); });
}

std::vector<std::int32_t> integers_from_json(const std::string& text) {
  return parse_column(text, [](const nlohmann::json& json) { return json.get<std::vector<std::int32_t>>(); });
}

std::vector<ScoredBlock> blocks_from_json(const std::string& text) {
  return parse_column(text, [](const nlohmann::json& json) {
    std::vector<ScoredBlock> blocks;
    for (const nlohmann::json& block : json) {
      blocks.push_back({block.at(0).get<double>(), block.at(1).get<std::int64_t>()});
    }
    return blocks;
  });
}

}  // namespace longrope
