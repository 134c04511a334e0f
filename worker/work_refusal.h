#pragma once

#include "common/documents/documents.h"
#include "common/model/model_description.h"
#include "common/rope/rescale_factors.h"
#include "common/wire/messages.h"
#include "common/wire/score_result.h"

#include <optional>
#include <string>

namespace longrope {

/// Why a piece of work has no result, as WorkerProtocol::failed() reports it to the coordinator.
struct WorkFailure {
  EvaluationError error;
  std::string detail;  // for people
};

/// Whether `work` is of EvaluationKind::kGradient.
[[nodiscard]] bool is_gradient(const Work& work);

/// The factors that `work` asks to score, unchecked.
[[nodiscard]] RescaleFactors factors_of(const Work& work);

/// Why this worker does not even begin: kBadFactors for a kind it does not serve and for factors that do not fit the
/// model; kBadDocument for a document of which `work.length` tokens cannot be scored (too short, a token outside the
/// vocabulary, a mask that counts nothing). nullopt when the work can be scored.
[[nodiscard]] std::optional<WorkFailure> why_refused(const Work& work, const Document& document,
                                                     const ModelDescription& model);

}  // namespace longrope
