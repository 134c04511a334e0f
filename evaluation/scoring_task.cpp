#include "evaluation/scoring_task.h"

#include "common/error.h"

#include <fmt/format.h>

#include <cstddef>
#include <utility>

namespace longrope {

std::vector<TaskResults> measure_tasks(std::span<const ScoringTask> tasks, const MeasureTask& measure) {
  std::vector<TaskResults> all;
  all.reserve(tasks.size());
  for (const ScoringTask& task : tasks) {
    TaskResults results = measure(task);
    for (std::size_t set = 0; set < results.size(); ++set) {
      require_finite(results[set], *task.document, task.length, task.names[set]);
    }
    all.push_back(std::move(results));
  }
  return all;
}

std::int64_t longest_context(const Fitness& fitness, std::int64_t length) {
  return fitness.kind == FitnessKind::kSliding ? fitness.window : length;
}

void require_measurable(const Fitness& fitness, std::span<const Document> documents, const std::filesystem::path& path,
                        std::int64_t length, std::int64_t vocabulary) {
  for (const Document& document : documents) {
    try {
      require_measurable(fitness, document, length, vocabulary);
    } catch (const InputError& error) {
      throw InputError(fmt::format("{} ({})", error.what(), path.native()));
    }
  }
}

}  // namespace longrope
