#include "worker/work_refusal.h"

#include "common/error.h"

#include <fmt/format.h>

namespace longrope {
namespace {

void require_usable(const Work& work, const ModelDescription& model) {
  if (work.kind != static_cast<std::int64_t>(EvaluationKind::kScore) && !is_gradient(work)) {
    throw InputError(fmt::format("evaluation kind must be 0 (score) or 1 (gradient): {} (work message)", work.kind));
  }
  validate(factors_of(work), model.geometry.pairs(), "work message");
}

/// The refusal that check() throws as an InputError, if any.
template <typename Check>
std::optional<WorkFailure> failure_of(EvaluationError error, const Check& check) {
  try {
    check();
    return std::nullopt;
  } catch (const InputError& refusal) {
    return WorkFailure{error, refusal.what()};
  }
}

}  // namespace

bool is_gradient(const Work& work) { return work.kind == static_cast<std::int64_t>(EvaluationKind::kGradient); }

RescaleFactors factors_of(const Work& work) {
  return exact_factors(work.lambda, work.n_hat, {AttentionPolicy::kValue, work.attention_factor});
}

std::optional<WorkFailure> why_refused(const Work& work, const Document& document, const ModelDescription& model) {
  auto failure = failure_of(EvaluationError::kBadFactors, [&] { require_usable(work, model); });
  if (failure) return failure;
  return failure_of(EvaluationError::kBadDocument, [&] { require_scorable(document, work.length, model.vocabulary); });
}

}  // namespace longrope
