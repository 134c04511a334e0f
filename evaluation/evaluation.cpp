#include "evaluation/evaluation.h"

#include "evaluation/score_progress.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

namespace longrope {

std::int64_t Evaluation::Task::context() const {
  return fitness.kind == FitnessKind::kSliding ? fitness.window : length;
}

Evaluation::Evaluation(EvaluationPlan plan, const ModelDescription& model) : plan_(std::move(plan)) {
  std::vector<Fitness> kinds = {Fitness{}};
  if (plan_.sliding) kinds.push_back(*plan_.sliding);
  for (const Fitness& fitness : kinds) {
    for (const std::int64_t length : plan_.lengths) {
      if (fitness.window > length) continue;
      for (const Document& document : plan_.documents) tasks_.push_back({&document, length, fitness, nullptr});
    }
  }
  for (const RetrievalDocument& retrieval : plan_.retrieval) {
    const auto length = static_cast<std::int64_t>(retrieval.document.tokens.size());
    tasks_.push_back({&retrieval.document, length, {.kind = FitnessKind::kAccuracy}, &retrieval});
  }
  for (const Task& task : tasks_) {
    const std::int64_t context = task.context();
    if (!factors_.contains(context)) factors_.emplace(context, factors_for(model, context));
  }
}

Evaluation::Factors Evaluation::factors_for(const ModelDescription& model, std::int64_t context) const {
  Factors result;
  for (const EvaluatedMethod& method : plan_.methods) {
    RescaleFactors factors = factors_of(method, model, plan_.lengths.back(), context);
    const std::string its_digest = digest(factors);
    const auto known = std::ranges::find(result.digests, its_digest);
    result.of_method.push_back(static_cast<std::size_t>(known - result.digests.begin()));
    if (known != result.digests.end()) continue;
    result.digests.push_back(its_digest);
    result.different.push_back(std::move(factors));
  }
  return result;
}

std::vector<ReportedMethod> Evaluation::reported_methods() const {
  std::vector<ReportedMethod> methods;
  for (std::size_t method = 0; method < plan_.methods.size(); ++method) {
    methods.push_back(
        {.name = plan_.methods[method].name, .file = plan_.methods[method].file.filename().string(), .factors = {}});
    for (const auto& [context, factors] : factors_) {
      const std::size_t index = factors.of_method[method];
      methods.back().factors.push_back({.length = context,
                                        .digest = factors.digests[index],
                                        .attention_factor = factors.different[index].attention.value});
    }
  }
  return methods;
}

void Evaluation::measure(PerplexityScorer& scorer, EvaluationReport& report) const {
  std::int64_t expected = 0;
  for (const Task& task : tasks_) {
    const auto candidates = static_cast<std::int64_t>(factors_.at(task.context()).different.size());
    expected += scorer.expected_progress(candidates, task.fitness, *task.document, task.length);
  }
  std::atomic<std::int64_t> progress{0};
  const ScoreProgress display(progress, expected);
  // In the order of the report, methods by their index.
  std::map<std::tuple<std::int64_t, std::size_t, std::int64_t>, PerplexityResult> perplexity;
  std::map<std::tuple<RetrievalKind, std::size_t, std::int64_t, double>, RetrievalResult> retrieval;
  for (const Task& task : tasks_) {
    const Factors& factors = factors_.at(task.context());
    const std::vector<FitnessResult> results =
        scorer.measure(factors.different, task.fitness, *task.document, task.length, progress);
    for (std::size_t method = 0; method < plan_.methods.size(); ++method) {
      const std::string& name = plan_.methods[method].name;
      const FitnessResult& result = results[factors.of_method[method]];
      require_finite(result, *task.document, task.length, name);
      if (task.retrieval != nullptr) {
        const auto& [kind, depth, document] = *task.retrieval;
        RetrievalResult& cell = retrieval[{kind, method, task.length, depth}];
        cell = {kind, name, task.length, depth, cell.right + result.right_answers, cell.answers + result.answers};
        continue;
      }
      PerplexityResult& entry = perplexity[{task.fitness.window, method, task.length}];
      entry.method = name;
      entry.length = task.length;
      entry.window = task.fitness.window;
      entry.stride = task.fitness.stride;
      entry.attention_factor = factors.different[factors.of_method[method]].attention.value;
      entry.documents.push_back({task.document->name, result.score, result.windows, result.window_means});
    }
  }
  report.methods = reported_methods();
  for (auto& [key, entry] : perplexity) report.perplexity.push_back(std::move(entry));
  for (auto& [key, cell] : retrieval) report.retrieval.push_back(std::move(cell));
}

}  // namespace longrope
