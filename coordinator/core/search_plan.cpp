#include "coordinator/core/search_plan.h"

#include "common/sha256.h"

namespace longrope {

SearchResources resources_of(const PlannedStage& stage) {
  return {.documents = stage.search.size(), .passes = stage.passes};
}

std::string evaluation_hash(const SearchPlan& plan, EvaluationKind kind, const std::string& factors_digest,
                            const std::string& document_digest, std::int64_t length) {
  Sha256 hash;
  hash.field("longrope-evaluation/1").field(to_string(kind)).field("perplexity");
  hash.field(factors_digest).field(plan.model_digest).field(document_digest).field(length);
  hash.field(to_string(plan.dtype)).field(to_string(plan.angles)).field(plan.threads_per_worker);
  return hash.hex();
}

}  // namespace longrope
