#pragma once

#include "common/wire/score_result.h"
#include "coordinator/core/records.h"
#include "coordinator/store/pipeline_store.h"
#include "coordinator/store/store.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// How values stand in the database: enums as the words that the schema's CHECKs list, arrays as JSON.
// Reading throws Error for a text that no release has written.

[[nodiscard]] std::string_view column_text(StageState state);
[[nodiscard]] std::string_view column_text(StageEnd end);
[[nodiscard]] std::string_view column_text(CandidateRole role);
[[nodiscard]] std::string_view column_text(CandidateState state);
[[nodiscard]] std::string_view column_text(EvaluationState state);
[[nodiscard]] std::string_view column_text(EvaluationKind kind);
[[nodiscard]] std::string_view column_text(LeaseEnd end);
[[nodiscard]] std::string_view column_text(WorkerState state);
[[nodiscard]] std::string_view column_text(PipelineStageState state);
[[nodiscard]] std::string_view column_text(DocumentPurpose purpose);

/// Defined for the enums above, but for DocumentPurpose.
template <typename Enum>
[[nodiscard]] Enum from_column_text(std::string_view text);

/// Shortest decimals that read back bit-exactly. Throws Error for a value that is not finite.
[[nodiscard]] std::string json_array(const std::vector<double>& values);
[[nodiscard]] std::string json_array(const std::vector<std::int32_t>& values);
[[nodiscard]] std::string json_array(const std::vector<ScoredBlock>& blocks);  // [[nll_sum, scored_tokens], …]

[[nodiscard]] std::vector<double> doubles_from_json(const std::string& text);
[[nodiscard]] std::vector<std::int32_t> integers_from_json(const std::string& text);
[[nodiscard]] std::vector<ScoredBlock> blocks_from_json(const std::string& text);

}  // namespace longrope
