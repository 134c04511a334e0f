#include "evaluation/score_plan.h"

#include <cstddef>
#include <utility>

namespace longrope {

std::vector<ScoringTask> scoring_tasks(const ScorePlan& plan) {
  std::vector<ScoringTask> tasks;
  for (std::size_t index = 0; index < plan.lengths.size(); ++index) {
    for (const Document& document : plan.documents) {
      tasks.push_back({.factors = plan.factors[index],
                       .names = plan.names,
                       .fitness = plan.fitness,
                       .document = &document,
                       .length = plan.lengths[index],
                       .gradient = plan.gradient});
    }
  }
  return tasks;
}

std::vector<ScoredFactors> scored_factors(const ScorePlan& plan, std::span<const TaskResults> results) {
  std::vector<ScoredFactors> scored;
  for (std::size_t set = 0; set < plan.names.size(); ++set) {
    ScoredFactors& factors = scored.emplace_back(ScoredFactors{.name = plan.names[set], .lengths = {}});
    std::size_t task = 0;
    for (std::size_t index = 0; index < plan.lengths.size(); ++index) {
      ScoredLength length = {
          .length = plan.lengths[index], .attention_factor = plan.factors[index][set].attention.value, .documents = {}};
      for (const Document& document : plan.documents) {
        length.documents.push_back({document.name, results[task++][set]});
      }
      factors.lengths.push_back(std::move(length));
    }
  }
  return scored;
}

}  // namespace longrope
