#include "evaluation/evaluation.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace longrope {
namespace {

/// Perplexity of one method at one length, while documents are added.
struct PerplexitySums {
  PerplexityResult result;
  ScoreResult score;
  std::int64_t windows = 0;
  double window_means = 0.0;

  void add(const std::string& document, const FitnessResult& measured) {
    add_result(measured.score, score);
    windows += measured.windows;
    window_means += measured.window_means;
    result.documents.push_back({document, measured.score.nll_sum, measured.score.scored_tokens});
  }

  [[nodiscard]] PerplexityResult total() && {
    result.nll_sum = score.nll_sum;
    result.scored_tokens = score.scored_tokens;
    result.blocks = std::move(score.blocks);
    if (result.sliding) {
      result.sliding->windows = windows;
      result.sliding->ppl_yarn = perplexity(window_means, windows);
    }
    return std::move(result);
  }
};

}  // namespace

Evaluation::Evaluation(EvaluationPlan plan, const ModelDescription& model) : plan_(std::move(plan)) {
  std::vector<Fitness> kinds = {Fitness{}};
  if (plan_.sliding) kinds.push_back(*plan_.sliding);
  for (const Fitness& fitness : kinds) {
    for (const std::int64_t length : plan_.lengths) {
      if (fitness.window > length) continue;
      for (const Document& document : plan_.documents) add_measurement(document, fitness, nullptr, length, model);
    }
  }
  for (const RetrievalDocument& retrieval : plan_.retrieval) {
    add_measurement(retrieval.document, {.kind = FitnessKind::kAccuracy}, &retrieval,
                    static_cast<std::int64_t>(retrieval.document.tokens.size()), model);
  }
}

void Evaluation::add_measurement(const Document& document, const Fitness& fitness, const RetrievalDocument* retrieval,
                                 std::int64_t length, const ModelDescription& model) {
  const std::int64_t context = longest_context(fitness, length);
  auto found = factors_.find(context);
  if (found == factors_.end()) found = factors_.emplace(context, factors_for(model, context)).first;
  const Factors& factors = found->second;
  measurements_.push_back({.task = {.factors = factors.different,
                                    .names = factors.names,
                                    .fitness = fitness,
                                    .document = &document,
                                    .length = length},
                           .factors = &factors,
                           .retrieval = retrieval});
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
    result.names.push_back(method.name);
    result.different.push_back(std::move(factors));
  }
  return result;
}

std::vector<ScoringTask> Evaluation::tasks() const {
  std::vector<ScoringTask> tasks;
  tasks.reserve(measurements_.size());
  for (const Measurement& measurement : measurements_) tasks.push_back(measurement.task);
  return tasks;
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

void Evaluation::fill(EvaluationReport& report, std::span<const TaskResults> results) const {
  // In the order of the report, methods by their index.
  std::map<std::tuple<std::int64_t, std::size_t, std::int64_t>, PerplexitySums> perplexities;
  std::map<std::tuple<RetrievalKind, std::size_t, std::int64_t, double>, RetrievalResult> retrievals;
  for (std::size_t index = 0; index < measurements_.size(); ++index) {
    const auto& [task, factors, retrieval] = measurements_[index];
    for (std::size_t method = 0; method < plan_.methods.size(); ++method) {
      const std::string& name = plan_.methods[method].name;
      const std::size_t set = factors->of_method[method];
      const FitnessResult& measured = results[index][set];
      if (retrieval != nullptr) {
        RetrievalResult& cell = retrievals[{retrieval->kind, method, task.length, retrieval->depth}];
        cell.kind = retrieval->kind;
        cell.method = name;
        cell.length = task.length;
        cell.depth = retrieval->depth;
        cell.right += measured.right_answers;
        cell.answers += measured.answers;
        continue;
      }
      PerplexitySums& sums = perplexities[{task.fitness.window, method, task.length}];
      sums.result.method = name;
      sums.result.length = task.length;
      if (task.fitness.kind == FitnessKind::kSliding) {
        sums.result.sliding = SlidingWindows{.window = task.fitness.window, .stride = task.fitness.stride};
      }
      sums.result.attention_factor = factors->different[set].attention.value;
      sums.add(task.document->name, measured);
    }
  }
  report.methods = reported_methods();
  for (auto& [key, sums] : perplexities) report.perplexity.push_back(std::move(sums).total());
  for (auto& [key, cell] : retrievals) {
    cell.interval = binomial_interval(cell.right, cell.answers);
    report.retrieval.push_back(std::move(cell));
  }
}

}  // namespace longrope
