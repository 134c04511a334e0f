#include "coordinator/search/gradient_search.h"

#include "common/error.h"
#include "common/random_stream.h"
#include "common/rope/closed_form_factors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace longrope {
namespace {

constexpr double kScreeningShare = 0.2;    // of the passes, for seeds and attention factors
constexpr double kScreeningPasses = 24.0;  // at most
constexpr double kSeedShare = 0.55;        // of those, for the first look at each seed
constexpr std::size_t kCompareOneOf = 4;   // seeds
constexpr std::size_t kScreeningDocuments = 2;
constexpr double kRaceShare = 0.15;  // of what the screening leaves
/// Shares of the iterates, the last ones, whose means are finalists beside the last iterate itself.
constexpr std::array<double, 3> kMeanShares = {0.75, 0.5, 0.25};
constexpr double kAttentionStep = 1e-4;  // a searched m is rounded to it

// Rungs: seeds, those that were compared, then the iterates in their order, then the race.
constexpr std::int64_t kComparedRung = 1;
constexpr std::int64_t kFirstStepRung = 2;

/// The seeds are screened under m = 1, or under the one m there is.
SearchSpace under_first_attention(SearchSpace space) {
  const bool fixed = space.attention_policies == std::vector{AttentionPolicy::kValue};
  if (!fixed) space.attention_policies = {AttentionPolicy::kNone};
  return space;
}

GradientPhases phases_of(std::size_t seeds, std::size_t other_attention, std::size_t batch,
                         const SearchResources& resources) {
  GradientPhases phases;
  const double screening = std::min(kScreeningPasses, kScreeningShare * resources.passes);
  phases.seeds = std::clamp<std::size_t>(static_cast<std::size_t>(kSeedShare * screening), 1, seeds);
  double spent = static_cast<double>(phases.seeds);
  if (resources.documents >= kScreeningDocuments && phases.seeds > 1) {
    phases.compared = (phases.seeds + kCompareOneOf - 1) / kCompareOneOf;
    spent += static_cast<double>(phases.compared);
    for (std::size_t tried = std::min<std::size_t>(2, phases.compared); tried > 0; --tried) {
      const double cost = static_cast<double>(tried * other_attention * kScreeningDocuments);
      if (spent + cost > screening) continue;
      phases.attention = tried * other_attention;
      spent += cost;
      break;
    }
  }
  phases.finalists = kMeanShares.size() + 1;
  const double left = resources.passes - spent;
  const auto finalists = static_cast<double>(phases.finalists);
  const std::size_t affordable = left > 0.0 ? static_cast<std::size_t>(kRaceShare * left / finalists) : 0;
  phases.race_documents = std::clamp<std::size_t>(affordable, 1, std::max<std::size_t>(1, resources.documents));
  const double gradient = kGradientPasses * static_cast<double>(batch);
  const double for_steps = left - finalists * static_cast<double>(phases.race_documents);
  if (for_steps < gradient) {
    throw InputError(
        fmt::format("the passes of a gradient search must allow for at least one gradient of {} documents, "
                    "the screening and the held-out documents of the finalists: {} are left",
                    batch, std::max(0.0, for_steps)));
  }
  phases.steps = static_cast<std::size_t>(for_steps / gradient);
  return phases;
}

}  // namespace

GradientSearch::GradientSearch(const SearchConfig& config, const SearchSpace& space, const SearchResources& resources,
                               std::uint64_t seed, const std::string& stage)
    : space_(genome_space(space, config.attention_value)),
      moves_attention_(space.attention_policies != std::vector{AttentionPolicy::kValue}),
      inverse_frequencies_(inverse_frequencies(space.geometry)),
      batch_(static_cast<std::size_t>(config.batch)),
      step_size_(config.step_size),
      documents_(resources.documents) {
  const SearchSpace first = under_first_attention(space);
  const GenomeSpace screened = genome_space(first, config.attention_value);
  attention_choices_ = screened.attention_choices;
  for (const AttentionFactor& choice : space_.attention_choices) {
    if (choice.value != attention_choices_.front().value) attention_choices_.push_back(choice);
  }
  seeds_ = make_seeds(config.seeds, first, screened);
  phases_ = phases_of(seeds_.size(), attention_choices_.size() - 1, batch_, resources);
  std::iota(documents_.begin(), documents_.end(), std::size_t{0});
  RandomStream random(seed, stage, 0);
  for (std::size_t left = documents_.size(); left > 1; --left) {
    std::swap(documents_[left - 1], documents_[random.below(left)]);
  }
}

std::size_t GradientSearch::results_needed(std::size_t k) const {
  const std::size_t compared = phases_.seeds + phases_.compared;
  const std::size_t steps = compared + phases_.attention;
  const std::size_t race = steps + phases_.steps;
  if (k < phases_.seeds) return 0;
  if (k < compared) return phases_.seeds;
  if (k < steps) return compared;
  return std::min(k, race);
}

std::optional<Candidate> GradientSearch::ask(std::size_t k) {
  if (k != asked_.size() || told_.size() != results_needed(k)) {
    throw std::logic_error(fmt::format("candidate {} is asked after {} and told {}", k, asked_.size(), told_.size()));
  }
  const std::size_t steps = phases_.seeds + phases_.compared + phases_.attention;
  const std::size_t race = steps + phases_.steps;
  Candidate candidate;
  if (k < phases_.seeds) {
    candidate = {seeds_[k].factors, seeds_[k].origin, {}, requests(0, 1, EvaluationKind::kScore)};
  } else if (k < phases_.seeds + phases_.compared) {
    candidate = compared_candidate(k - phases_.seeds);
  } else if (k < steps) {
    candidate = attention_candidate(k - phases_.seeds - phases_.compared);
  } else if (k < race) {
    if (k == steps && !begin_descent()) return std::nullopt;
    candidate = step_candidate(k - steps);
  } else if (k < phases_.candidates()) {
    candidate = race_candidate(k - race);
  } else {
    return std::nullopt;
  }
  asked_.push_back(candidate.factors);
  return candidate;
}

void GradientSearch::tell(std::size_t k, const CandidateResult& result) {
  if (k != told_.size() || k >= asked_.size()) {
    throw std::logic_error(fmt::format("results are told in order: {} instead of {}", k, told_.size()));
  }
  told_.push_back(result.mean_nll);
  if (!descent_ || !std::isfinite(result.mean_nll) || iterates_.size() > phases_.steps) return;
  double tokens = 0.0;
  std::vector<double> gradient(space_.pairs + 1);
  for (const ScoreResult& document : result.documents) {
    tokens += static_cast<double>(document.scored_tokens);
    std::ranges::transform(gradient, document.gradient, gradient.begin(), std::plus<>());
  }
  for (double& component : gradient) component /= tokens;
  descent_->step(gradient);
}

std::vector<std::size_t> GradientSearch::best_of(std::size_t begin, std::size_t end, std::size_t count) const {
  std::vector<std::size_t> ranked(end - begin);
  std::iota(ranked.begin(), ranked.end(), begin);
  std::ranges::stable_sort(ranked, {}, [this](std::size_t k) { return told_[k]; });
  ranked.resize(std::min(ranked.size(), count));
  return ranked;
}

std::vector<DocumentRequest> GradientSearch::requests(std::size_t first, std::size_t count, EvaluationKind kind) const {
  std::vector<DocumentRequest> wanted;
  for (std::size_t i = 0; i < std::min(count, documents_.size()); ++i) {
    wanted.push_back({documents_[(first + i) % documents_.size()], kind});
  }
  return wanted;
}

LogFactors GradientSearch::log_factors(const RescaleFactors& factors) const {
  LogFactors point{secondary_lambda(space_, factors.lambda), std::log(factors.attention.value)};
  for (double& lambda : point.log_lambda) lambda = std::log(lambda);
  return point;
}

RescaleFactors GradientSearch::exact(const LogFactors& point) const {
  RescaleFactors factors;
  for (std::size_t pair = 0; pair < space_.pairs; ++pair) {
    const double base = space_.base_lambda.empty() ? 1.0 : space_.base_lambda[pair];
    factors.lambda.push_back(base * std::exp(point.log_lambda[pair]));
  }
  factors.attention = moves_attention_ ? AttentionFactor{AttentionPolicy::kValue, std::exp(point.log_attention)}
                                       : attention_choices_.front();
  return factors;
}

RescaleFactors GradientSearch::on_grid(const LogFactors& point) const {
  const RescaleFactors factors = exact(point);
  AttentionFactor attention = factors.attention;
  if (moves_attention_) attention.value = std::round(attention.value / kAttentionStep) * kAttentionStep;
  const RescaleFactors secondary =
      round_to_grid(space_.grid, secondary_lambda(space_, factors.lambda), /*n_hat=*/0, attention);
  return to_factors({.steps = secondary.grid_steps, .n_hat = 0, .attention = attention}, space_);
}

Candidate GradientSearch::compared_candidate(std::size_t rank) const {
  const std::size_t parent = best_of(0, phases_.seeds, phases_.compared)[rank];
  return {asked_[parent],
          seeds_[parent].origin,
          {parent},
          requests(0, kScreeningDocuments, EvaluationKind::kScore),
          kComparedRung};
}

Candidate GradientSearch::attention_candidate(std::size_t index) const {
  const std::size_t others = attention_choices_.size() - 1;
  const std::size_t tried = phases_.attention / others;
  const std::size_t parent = best_of(phases_.seeds, phases_.seeds + phases_.compared, tried)[index / others];
  RescaleFactors factors = asked_[parent];
  factors.attention = attention_choices_[1 + index % others];
  return {std::move(factors),
          fmt::format("attention:{}", to_string(attention_choices_[1 + index % others].policy)),
          {parent},
          requests(0, kScreeningDocuments, EvaluationKind::kScore),
          kComparedRung};
}

bool GradientSearch::begin_descent() {
  const std::size_t steps = phases_.seeds + phases_.compared + phases_.attention;
  start_ = best_of(phases_.compared > 0 ? phases_.seeds : 0, steps, 1).front();
  if (!std::isfinite(told_[start_])) return false;
  descent_.emplace(inverse_frequencies_, log_factors(asked_[start_]),
                   DescentOptions{.step_size = step_size_,
                                  .steps = phases_.steps,
                                  .largest_factor = space_.grid.upper_bound,
                                  .moves_attention = moves_attention_});
  return true;
}

Candidate GradientSearch::step_candidate(std::size_t step) {
  iterates_.push_back(descent_->point());
  const std::size_t parent = step == 0 ? start_ : asked_.size() - 1;
  return {exact(descent_->point()),
          "gradient",
          {parent},
          requests(kScreeningDocuments + step * batch_, batch_, EvaluationKind::kGradient),
          kFirstStepRung + static_cast<std::int64_t>(step)};
}

Candidate GradientSearch::race_candidate(std::size_t index) const {
  LogFactors point = descent_->point();
  std::string origin = "iterate";
  if (index < kMeanShares.size()) {
    const auto all = static_cast<double>(iterates_.size());
    const auto count = std::max<std::size_t>(1, static_cast<std::size_t>(std::round(kMeanShares[index] * all)));
    for (std::size_t i = iterates_.size() - count + 1; i < iterates_.size(); ++i) {
      std::ranges::transform(point.log_lambda, iterates_[i].log_lambda, point.log_lambda.begin(), std::plus<>());
      point.log_attention += iterates_[i].log_attention;
    }
    for (double& log_lambda : point.log_lambda) log_lambda /= static_cast<double>(count);
    point.log_attention /= static_cast<double>(count);
    origin = fmt::format("mean:{}", count);
  }
  return {on_grid(point),
          std::move(origin),
          {asked_.size() - index - 1},
          requests(kScreeningDocuments + phases_.steps * batch_, phases_.race_documents, EvaluationKind::kScore),
          kFirstStepRung + static_cast<std::int64_t>(phases_.steps)};
}

}  // namespace longrope
