#include "coordinator/search/gradient_search.h"

#include "common/error.h"
#include "common/random_stream.h"
#include "tests/coordinator/search/synthetic_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kTokens = 100;  // of every document

/// NLL of a document: a quadratic in ln λ and ln m, as steep as the pairs turn, whose optimum differs a little from one
/// document to the next.
class Evaluator {
 public:
  explicit Evaluator(const SearchSpace& space) : frequencies_(inverse_frequencies(space.geometry)) {}

  [[nodiscard]] ScoreResult operator()(const RescaleFactors& factors, const DocumentRequest& request) const {
    RandomStream noise(7, "document", request.document);
    const std::size_t pairs = frequencies_.size();
    ScoreResult result{.scored_tokens = kTokens};
    double mean = 2.0;
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      const double freedom = std::min(1.0, 0.03 / frequencies_[pair]);
      const double share = static_cast<double>(pair) / static_cast<double>(pairs);
      const double optimum = std::log(1.0 + 3.2 * share * share) * freedom + 0.05 * freedom * noise.normal();
      const double error = (std::log(factors.lambda[pair]) - optimum) / freedom;
      mean += 0.01 * error * error;
      result.gradient.push_back(kTokens * 0.02 * error / freedom);
    }
    const double error = std::log(factors.attention.value) - 0.03;
    mean += error * error;
    result.gradient.push_back(kTokens * 2.0 * error);
    if (request.kind == EvaluationKind::kScore) result.gradient.clear();
    result.nll_sum = mean * kTokens;
    return result;
  }

 private:
  std::vector<double> frequencies_;
};

struct GradientTrace {
  std::vector<Candidate> candidates;
  std::vector<CandidateResult> results;
};

GradientTrace run(SearchAlgorithm& search, const Evaluator& evaluate) {
  GradientTrace trace;
  std::size_t told = 0;
  for (std::size_t k = 0;; ++k) {
    for (; told < search.results_needed(k); ++told) search.tell(told, trace.results.at(told));
    std::optional<Candidate> candidate = search.ask(k);
    if (!candidate) return trace;
    CandidateResult result;
    for (const DocumentRequest& request : candidate->requests) {
      result.documents.push_back(evaluate(candidate->factors, request));
      result.mean_nll += result.documents.back().nll_sum / kTokens;
    }
    result.mean_nll /= static_cast<double>(candidate->requests.size());
    trace.results.push_back(std::move(result));
    trace.candidates.push_back(*std::move(candidate));
  }
}

SearchConfig config_of(const std::string& space = std::string(kFullSpace)) {
  SearchConfig config;
  config.method = SearchMethod::kGradient;
  config.space = space;
  return config;
}

constexpr SearchResources kResources{.documents = 40, .passes = 114.0};

GradientTrace run(const SearchConfig& config, const SearchSpace& space, std::uint64_t seed = 1) {
  GradientSearch search(config, space, kResources, seed, "stage");
  return run(search, Evaluator(space));
}

double passes_of(const GradientTrace& trace) {
  std::set<std::tuple<std::string, std::size_t, EvaluationKind>> evaluations;
  for (const Candidate& candidate : trace.candidates) {
    for (const DocumentRequest& request : candidate.requests) {
      evaluations.emplace(digest(candidate.factors), request.document, request.kind);
    }
  }
  double passes = 0.0;
  for (const auto& [factors, document, kind] : evaluations) {
    passes += kind == EvaluationKind::kGradient ? kGradientPasses : 1.0;
  }
  return passes;
}

TEST(GradientSearchTest, ItAsksForWhatItPlannedWithinItsPasses) {
  const SearchSpace space = synthetic_space(config_of());
  for (const double passes : {20.0, 60.0, 114.0, 316.0, 652.0}) {
    GradientSearch search(config_of(), space, {.documents = 40, .passes = passes}, 1, "stage");
    const GradientTrace trace = run(search, Evaluator(space));
    EXPECT_EQ(trace.candidates.size(), search.phases().candidates()) << passes;
    EXPECT_LE(passes_of(trace), passes);
    EXPECT_GT(passes_of(trace), passes - 2 * kGradientPasses);
  }
}

TEST(GradientSearchTest, TheRaceIsLowerThanEverySeedOnTheSameDocuments) {
  const SearchSpace space = synthetic_space(config_of());
  const GradientTrace trace = run(config_of(), space);
  const Evaluator evaluate(space);
  const auto mean_over = [&](const RescaleFactors& factors, const std::vector<DocumentRequest>& requests) {
    double sum = 0.0;
    for (const DocumentRequest& request : requests) sum += evaluate(factors, request).nll_sum;
    return sum / static_cast<double>(requests.size());
  };
  const Candidate& last = trace.candidates.back();
  double lowest = mean_over(last.factors, last.requests);
  for (const Candidate& candidate : trace.candidates) {
    if (candidate.rung == last.rung) lowest = std::min(lowest, mean_over(candidate.factors, last.requests));
  }
  for (const Candidate& candidate : trace.candidates) {
    if (candidate.rung < 2) {
      EXPECT_LT(lowest, mean_over(candidate.factors, last.requests)) << candidate.origin;
    }
  }
}

TEST(GradientSearchTest, RungsRiseFromSeedsThroughIteratesToTheRace) {
  const GradientTrace trace = run(config_of(), synthetic_space(config_of()));
  EXPECT_TRUE(std::ranges::is_sorted(trace.candidates, {}, &Candidate::rung));
  std::set<std::int64_t> rungs_of_steps;
  for (const Candidate& candidate : trace.candidates) {
    if (candidate.origin == "gradient") {
      EXPECT_TRUE(rungs_of_steps.insert(candidate.rung).second);
    }
  }
  EXPECT_EQ(trace.candidates.back().origin, "iterate");
}

TEST(GradientSearchTest, EveryCandidateIsMonotoneAndFinalistsLieOnTheGrid) {
  const SearchSpace space = synthetic_space(config_of());
  const GradientTrace trace = run(config_of(), space);
  for (const Candidate& candidate : trace.candidates) {
    EXPECT_TRUE(std::ranges::is_sorted(candidate.factors.lambda)) << candidate.origin;
    EXPECT_GE(candidate.factors.lambda.front(), 1.0);
    EXPECT_LE(candidate.factors.lambda.back(), space.grid.upper_bound + 1e-12);
    if (candidate.rung == trace.candidates.back().rung) {
      EXPECT_EQ(candidate.factors.grid_steps.size(), 64U);
    }
  }
}

TEST(GradientSearchTest, StepsTakeDocumentsInTurnAndAnotherSeedInAnotherOrder) {
  const auto documents = [&](std::uint64_t seed) {
    std::vector<std::size_t> taken;
    for (const Candidate& candidate : run(config_of(), synthetic_space(config_of()), seed).candidates) {
      if (candidate.origin == "gradient") taken.push_back(candidate.requests.at(0).document);
    }
    return taken;
  };
  const std::vector<std::size_t> taken = documents(1);
  EXPECT_EQ(std::set<std::size_t>(taken.begin(), taken.end()).size(), taken.size());
  EXPECT_EQ(documents(1), taken);
  EXPECT_NE(documents(2), taken);
}

TEST(GradientSearchTest, ABatchIsOneStepOfSeveralDocuments) {
  SearchConfig config = config_of();
  config.batch = 4;
  const GradientTrace trace = run(config, synthetic_space(config));
  for (const Candidate& candidate : trace.candidates) {
    if (candidate.origin != "gradient") continue;
    std::set<std::size_t> documents;
    for (const DocumentRequest& request : candidate.requests) {
      EXPECT_EQ(request.kind, EvaluationKind::kGradient);
      documents.insert(request.document);
    }
    EXPECT_EQ(documents.size(), 4U);
  }
}

TEST(GradientSearchTest, AGivenAttentionFactorStaysAsItIs) {
  SearchConfig config = config_of();
  config.attention_policies = {AttentionPolicy::kValue};
  config.attention_value = 1.25;
  for (const Candidate& candidate : run(config, synthetic_space(config)).candidates) {
    EXPECT_EQ(candidate.factors.attention, (AttentionFactor{AttentionPolicy::kValue, 1.25})) << candidate.origin;
  }
}

TEST(GradientSearchTest, TheAttentionFactorMovesToItsOptimum) {
  const GradientTrace trace = run(config_of(), synthetic_space(config_of()));
  EXPECT_NEAR(std::log(trace.candidates.back().factors.attention.value), 0.03, 0.02);
}

TEST(GradientSearchTest, OnAModelThatCarriesScalingItNeverFallsBelow) {
  const SearchSpace space = scaled_space(config_of());
  const GradientTrace trace = run(config_of(), space);
  for (const Candidate& candidate : trace.candidates) {
    for (std::size_t pair = 0; pair < 64; ++pair) {
      EXPECT_GE(candidate.factors.lambda[pair], space.scaling.beyond_original.lambda[pair] * (1 - 1e-12));
    }
  }
}

TEST(GradientSearchTest, AStepThatCouldNotBeScoredMovesNothing) {
  const SearchSpace space = synthetic_space(config_of());
  GradientSearch search(config_of(), space, kResources, 1, "stage");
  const Evaluator evaluate(space);
  std::size_t told = 0;
  std::vector<Candidate> candidates;
  for (std::size_t k = 0; k < search.phases().first_step() + 2; ++k) {
    for (; told < search.results_needed(k); ++told) {
      if (told >= search.phases().first_step()) {
        search.tell(told, {.mean_nll = std::numeric_limits<double>::infinity()});
        continue;
      }
      search.tell(told, {.mean_nll = evaluate(candidates[told].factors, candidates[told].requests[0]).nll_sum});
    }
    candidates.push_back(search.ask(k).value());
  }
  EXPECT_EQ(candidates.back().factors, candidates[candidates.size() - 2].factors);
}

TEST(GradientSearchTest, NothingIsAskedWhenNoSeedCouldBeScored) {
  GradientSearch search(config_of(), synthetic_space(config_of()), kResources, 1, "stage");
  std::size_t told = 0;
  for (std::size_t k = 0; k < search.phases().first_step(); ++k) {
    for (; told < search.results_needed(k); ++told) {
      search.tell(told, {.mean_nll = std::numeric_limits<double>::infinity()});
    }
    EXPECT_TRUE(search.ask(k));
  }
  for (; told < search.phases().first_step(); ++told) {
    search.tell(told, {.mean_nll = std::numeric_limits<double>::infinity()});
  }
  EXPECT_EQ(search.ask(told), std::nullopt);
}

TEST(GradientSearchTest, PassesThatAllowNoGradientAreRefused) {
  EXPECT_THROW(GradientSearch(config_of(), synthetic_space(config_of()), {.documents = 40, .passes = 6.0}, 1, "stage"),
               InputError);
}

class GradientInSpaceTest : public testing::TestWithParam<std::string> {};

TEST_P(GradientInSpaceTest, CandidatesBelongToTheSpaceAndTheRaceIsLowerThanItsClosedForm) {
  const SearchConfig config = config_of(GetParam());
  const SearchSpace space = synthetic_space(config);
  const GradientTrace trace = run(config, space);
  const Evaluator evaluate(space);
  const auto mean = [&](const Candidate& candidate) {
    double sum = 0.0;
    for (std::size_t document = 0; document < 40; ++document) {
      sum += evaluate(candidate.factors, {.document = document}).nll_sum;
    }
    return sum;
  };
  EXPECT_EQ(trace.candidates.front().origin, GetParam() == "full" ? "seed:yarn" : "seed:closed-form");
  double lowest = mean(trace.candidates.back());
  for (const Candidate& candidate : trace.candidates) {
    EXPECT_TRUE(std::ranges::is_sorted(candidate.factors.lambda)) << candidate.origin;
    if (candidate.rung == trace.candidates.back().rung) lowest = std::min(lowest, mean(candidate));
  }
  EXPECT_LT(lowest, mean(trace.candidates.front()));
}

INSTANTIATE_TEST_SUITE_P(Spaces, GradientInSpaceTest,
                         testing::Values("full", "theta", "yarn", "llama3", "boundary", "critical"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace longrope
