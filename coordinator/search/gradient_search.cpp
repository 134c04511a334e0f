#include "coordinator/search/gradient_search.h"

#include "common/error.h"
#include "common/random_stream.h"
#include "coordinator/search/seeds.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace longrope {
namespace {

constexpr double kScreeningShare = 0.2;    // of the passes, for seeds and attention factors
constexpr double kScreeningPasses = 24.0;  // at most
constexpr double kSeedShare = 0.55;        // of those, for the first look at each seed
constexpr std::size_t kComparedOneOf = 4;  // seeds
constexpr std::size_t kScreeningDocuments = 2;
constexpr double kRaceShare = 0.15;  // of what the screening leaves
/// Shares of the iterates, the last ones, whose means are finalists beside the last iterate itself.
constexpr std::array<double, 3> kMeanShares = {0.75, 0.5, 0.25};
constexpr double kAttentionStep = 1e-4;  // a searched m is rounded to it

// Rungs: seeds, those that were compared, then the iterates in their order, then the race.
constexpr std::int64_t kComparedRung = 1;
constexpr std::int64_t kFirstStepRung = 2;

bool has_fixed_attention(const SearchSpace& space) {
  return space.attention_policies == std::vector{AttentionPolicy::kValue};
}

/// The same with m of the checkpoint alone, or with the one m there is.
SearchSpace under_first_attention(SearchSpace space) {
  if (!has_fixed_attention(space)) space.attention_policies = {AttentionPolicy::kNone};
  return space;
}

SpaceSettings settings_of(const SearchSpace& space) {
  const auto ratio = static_cast<double>(space.target_length) / static_cast<double>(space.reached_length());
  return {.geometry = space.geometry, .ratio = std::max(1.0, ratio), .upper_bound = space.grid.upper_bound};
}

GradientPhases phases_of(std::size_t starts, std::size_t other_attention, std::size_t batch,
                         const SearchResources& resources) {
  GradientPhases phases;
  const double screening = std::min(kScreeningPasses, kScreeningShare * resources.passes);
  phases.seeds = std::min(starts, std::max<std::size_t>(1, static_cast<std::size_t>(kSeedShare * screening)));
  auto spent = static_cast<double>(phases.seeds);
  if (resources.documents >= kScreeningDocuments && phases.seeds > 1) {
    phases.compared = (phases.seeds + kComparedOneOf - 1) / kComparedOneOf;
    spent += static_cast<double>(phases.compared);
    for (std::size_t tried = std::min<std::size_t>(2, phases.compared); tried > 0; --tried) {
      const auto cost = static_cast<double>(tried * other_attention * kScreeningDocuments);
      if (spent + cost > screening) continue;
      phases.attention = tried * other_attention;
      spent += cost;
      break;
    }
  }
  phases.finalists = kMeanShares.size() + 1;
  const double left = std::max(0.0, resources.passes - spent);
  const auto finalists = static_cast<double>(phases.finalists);
  phases.race_documents = std::min(std::max<std::size_t>(1, resources.documents),
                                   std::max<std::size_t>(1, static_cast<std::size_t>(kRaceShare * left / finalists)));
  const double gradient = kGradientPasses * static_cast<double>(batch);
  const double for_steps = left - finalists * static_cast<double>(phases.race_documents);
  if (for_steps < gradient) {
    throw InputError(
        fmt::format("max_passes must allow for a gradient of {} document(s), beside the screening of seeds, the race "
                    "and the held-out documents: {} passes are left for gradients, {} needed",
                    batch, std::max(0.0, for_steps), gradient));
  }
  phases.steps = static_cast<std::size_t>(for_steps / gradient);
  return phases;
}

/// All combinations of discrete parameters that the space admits, the nearest to its closed form first.
std::vector<std::vector<std::int64_t>> discrete_choices(const FactorSpace& space) {
  std::vector<std::vector<std::int64_t>> choices = {{}};
  for (const DiscreteRange& range : space.discrete()) {
    std::vector<std::vector<std::int64_t>> longer;
    for (const std::vector<std::int64_t>& choice : choices) {
      for (std::int64_t value = range.lower; value <= range.upper; ++value) {
        longer.push_back(choice);
        longer.back().push_back(value);
      }
    }
    choices = std::move(longer);
  }
  std::erase_if(choices, [&](const std::vector<std::int64_t>& choice) { return !space.admits(choice); });
  const std::vector<std::int64_t> nearest = space.start().discrete;
  std::ranges::stable_sort(choices, {}, [&](const std::vector<std::int64_t>& choice) {
    return std::transform_reduce(choice.begin(), choice.end(), nearest.begin(), std::int64_t{0}, std::plus<>(),
                                 [](std::int64_t a, std::int64_t b) { return std::abs(a - b); });
  });
  return choices;
}

}  // namespace

GradientSearch::GradientSearch(const SearchConfig& config, const SearchSpace& space, const SearchResources& resources,
                               std::uint64_t seed, const std::string& stage)
    : grid_(genome_space(under_first_attention(space), config.attention_value)),
      space_(make_factor_space(config.space, settings_of(space))),
      is_full_(config.space == kFullSpace),
      moves_attention_(!has_fixed_attention(space)),
      attention_choices_(grid_.attention_choices),
      batch_(static_cast<std::size_t>(config.batch)),
      step_size_(config.step_size),
      documents_(resources.documents) {
  for (const AttentionFactor& choice : genome_space(space, config.attention_value).attention_choices) {
    if (choice.value != attention_choices_.front().value) attention_choices_.push_back(choice);
  }
  if (!space_->attention_parameter(space_->start().discrete)) attention_choices_.resize(1);
  starts_ = is_full_ ? closed_forms(config, space) : neighbours(static_cast<std::size_t>(kScreeningPasses));
  phases_ = phases_of(starts_.size(), attention_choices_.size() - 1, batch_, resources);
  starts_.resize(phases_.seeds);
  std::iota(documents_.begin(), documents_.end(), std::size_t{0});
  RandomStream(seed, stage, 0).shuffle(documents_);
}

std::vector<GradientSearch::Start> GradientSearch::closed_forms(const SearchConfig& config,
                                                                const SearchSpace& space) const {
  const bool by_name = config.seeds != SearchConfig{}.seeds;
  const std::vector<Seed> seeds =
      by_name ? make_seeds(config.seeds, under_first_attention(space), grid_) : seed_portfolio(space, grid_);
  std::vector<Start> starts;
  for (const Seed& seed : seeds) {
    SpaceParameters parameters;
    for (const double lambda : secondary_lambda(grid_, seed.factors.lambda)) {
      parameters.continuous.push_back(std::log(lambda));
    }
    parameters.continuous.push_back(0.0);
    starts.push_back({seed.origin, std::move(parameters)});
  }
  // What the user gives comes first: there may be more closed forms than can be screened.
  std::ranges::stable_partition(starts, [](const Start& start) { return start.origin.starts_with("seed:published"); });
  return starts;
}

std::vector<GradientSearch::Start> GradientSearch::neighbours(std::size_t count) const {
  const SpaceParameters first = space_->start();
  std::vector<Start> starts;
  for (std::vector<std::int64_t>& discrete : discrete_choices(*space_)) {
    if (starts.size() == count) break;
    // A space may have fewer continuous parameters here: those of the last pairs, and m.
    std::vector<double> continuous(space_->continuous(discrete).size(), first.continuous.front());
    const std::size_t shared = std::min(continuous.size(), first.continuous.size());
    std::copy_backward(first.continuous.end() - static_cast<std::ptrdiff_t>(shared), first.continuous.end(),
                       continuous.end());
    std::string origin = fmt::format("seed:{}", starts.empty() ? "closed-form" : fmt::format("{}", discrete));
    starts.push_back({std::move(origin), {std::move(discrete), std::move(continuous)}});
  }
  return starts;
}

std::size_t GradientSearch::results_needed(std::size_t k) const {
  if (k < phases_.seeds) return 0;
  if (k < phases_.seeds + phases_.compared) return phases_.seeds;
  if (k < phases_.first_step()) return phases_.seeds + phases_.compared;
  return std::min(k, phases_.first_finalist());
}

std::optional<Candidate> GradientSearch::ask(std::size_t k) {
  if (k != asked_ || told_.size() != results_needed(k)) {
    throw std::logic_error(fmt::format("candidate {} is asked after {} and told {}", k, asked_, told_.size()));
  }
  if (k == phases_.candidates() || (k == phases_.first_step() && !begin_descent())) return std::nullopt;
  ++asked_;
  if (k < phases_.seeds) {
    return Candidate{factors_of(starts_[k].parameters), starts_[k].origin, {}, requests(0, 1, EvaluationKind::kScore)};
  }
  if (k < phases_.seeds + phases_.compared) return compared_candidate(k - phases_.seeds);
  if (k < phases_.first_step()) return attention_candidate(k - phases_.seeds - phases_.compared);
  if (k < phases_.first_finalist()) return step_candidate(k - phases_.first_step());
  return race_candidate(k - phases_.first_finalist());
}

void GradientSearch::tell(std::size_t k, const CandidateResult& result) {
  if (k != told_.size() || k >= asked_) {
    throw std::logic_error(fmt::format("results are told in order: {} instead of {}", k, told_.size()));
  }
  told_.push_back(result.mean_nll);
  const bool is_step = k >= phases_.first_step() && k < phases_.first_finalist();
  if (!is_step || !std::isfinite(result.mean_nll)) return;
  double tokens = 0.0;
  std::vector<double> sums(grid_.pairs + 1);
  for (const ScoreResult& document : result.documents) {
    tokens += static_cast<double>(document.scored_tokens);
    std::ranges::transform(sums, document.gradient, sums.begin(), std::plus<>());
  }
  for (double& sum : sums) sum /= tokens;
  const double log_attention = sums.back();
  sums.pop_back();
  descent_->step({.log_lambda = std::move(sums), .log_attention = log_attention});
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

RescaleFactors GradientSearch::factors_of(const SpaceParameters& parameters) const {
  const SpaceFactors secondary = space_->factors(parameters);
  RescaleFactors factors = exact_factors(secondary.lambda, /*n_hat=*/0, attention_choices_.front());
  if (!grid_.base_lambda.empty()) factors = compose(exact_factors(grid_.base_lambda, /*n_hat=*/0, {}), factors);
  if (moves_attention_ && secondary.attention_factor != 1.0) {
    factors.attention = {AttentionPolicy::kValue, attention_choices_.front().value * secondary.attention_factor};
  }
  return factors;
}

/// As a winner is written: λ on the grid where every λ is free, m to a few digits.
RescaleFactors GradientSearch::finished(const SpaceParameters& parameters) const {
  RescaleFactors factors = factors_of(parameters);
  if (factors.attention.policy == AttentionPolicy::kValue && moves_attention_) {
    factors.attention.value = std::round(factors.attention.value / kAttentionStep) * kAttentionStep;
  }
  if (!is_full_) return factors;
  return rounded_factors(secondary_lambda(grid_, factors.lambda), /*n_hat=*/0, factors.attention, grid_);
}

Candidate GradientSearch::compared_candidate(std::size_t index) {
  const std::size_t parent = best_of(0, phases_.seeds, phases_.compared)[index];
  starts_.push_back(starts_[parent]);
  return {factors_of(starts_.back().parameters),
          starts_.back().origin,
          {parent},
          requests(0, kScreeningDocuments, EvaluationKind::kScore),
          kComparedRung};
}

Candidate GradientSearch::attention_candidate(std::size_t index) {
  const std::size_t others = attention_choices_.size() - 1;
  const std::size_t parent =
      best_of(phases_.seeds, phases_.seeds + phases_.compared, phases_.attention / others)[index / others];
  const AttentionFactor& attention = attention_choices_[1 + index % others];
  SpaceParameters parameters = starts_[parent].parameters;
  parameters.continuous[*space_->attention_parameter(parameters.discrete)] +=
      std::log(attention.value / attention_choices_.front().value);
  starts_.push_back({fmt::format("attention:{}", to_string(attention.policy)), std::move(parameters)});
  return {factors_of(starts_.back().parameters),
          starts_.back().origin,
          {parent},
          requests(0, kScreeningDocuments, EvaluationKind::kScore),
          kComparedRung};
}

/// False when no start could be scored.
bool GradientSearch::begin_descent() {
  start_ = best_of(phases_.compared > 0 ? phases_.seeds : 0, phases_.first_step(), 1).front();
  if (!std::isfinite(told_[start_])) return false;
  descent_.emplace(
      *space_, starts_[start_].parameters,
      DescentOptions{.step_size = step_size_, .steps = phases_.steps, .moves_attention = moves_attention_});
  return true;
}

Candidate GradientSearch::step_candidate(std::size_t step) {
  iterates_.push_back(descent_->point());
  return {factors_of(descent_->point()),
          "gradient",
          {step == 0 ? start_ : phases_.first_step() + step - 1},
          requests(kScreeningDocuments + step * batch_, batch_, EvaluationKind::kGradient),
          kFirstStepRung + static_cast<std::int64_t>(step)};
}

Candidate GradientSearch::race_candidate(std::size_t index) const {
  SpaceParameters point = descent_->point();
  std::string origin = "iterate";
  if (index < kMeanShares.size()) {
    const double share = kMeanShares[index] * static_cast<double>(iterates_.size());
    const auto count = std::max<std::size_t>(1, static_cast<std::size_t>(std::round(share)));
    std::vector<double>& mean = point.continuous;
    for (std::size_t i = iterates_.size() - count + 1; i < iterates_.size(); ++i) {
      std::ranges::transform(mean, iterates_[i].continuous, mean.begin(), std::plus<>());
    }
    for (double& value : mean) value /= static_cast<double>(count);
    origin = fmt::format("mean:{}", count);
  }
  return {finished(point),
          std::move(origin),
          {phases_.first_finalist() - 1},
          requests(kScreeningDocuments + phases_.steps * batch_, phases_.race_documents, EvaluationKind::kScore),
          kFirstStepRung + static_cast<std::int64_t>(phases_.steps)};
}

}  // namespace longrope
