#pragma once

#include "common/documents/documents.h"
#include "common/rope/closed_form_factors.h"
#include "common/wire/score_result.h"
#include "coordinator/core/search_plan.h"
#include "coordinator/search/search_algorithm.h"

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

/// Tokens of every document of `small_plan` that count.
inline constexpr std::int64_t kFixtureScoredTokens = 100;
inline constexpr std::int64_t kFixtureTargetLength = 2048;
inline constexpr std::size_t kFixtureSearchDocuments = 3;
inline constexpr std::size_t kFixtureHeldoutDocuments = 2;
inline constexpr std::size_t kFixtureFinalDocuments = 2;

/// A document whose content is its name: its digest is real, and tells it from every other.
inline Document fixture_document(const std::string& name) {
  Document document;
  document.name = name;
  document.tokens.assign(name.begin(), name.end());
  return document;
}

inline std::string fixture_document_name(std::size_t stage, bool heldout, std::size_t order) {
  return "stage-" + std::to_string(stage + 1) + (heldout ? "-heldout-" : "-search-") + std::to_string(order);
}

inline std::string fixture_final_document_name(std::size_t stage, std::size_t order) {
  return "stage-" + std::to_string(stage + 1) + "-final-" + std::to_string(order);
}

/// A search that is over after a few dozen evaluations: 8 pairs, 6 + 3 · 4 candidates, 3 search and 2 held-out
/// documents.
inline SearchPlan small_plan(bool generational = true, std::size_t stages = 1) {
  SearchPlan plan;
  plan.seed = 7;
  plan.model_name = "fixture-model";
  plan.model_digest = "fixture-model-digest";
  plan.scheduling.heartbeat_interval = std::chrono::milliseconds(1000);
  plan.scheduling.worker_timeout = std::chrono::milliseconds(10000);
  plan.scheduling.lease_timeout = std::chrono::milliseconds(30000);
  for (std::size_t index = 0; index < stages; ++index) {
    PlannedStage stage;
    stage.config.name = "stage-" + std::to_string(index + 1);
    stage.config.target_length = kFixtureTargetLength;
    stage.config.finalists = 3;
    SearchConfig& search = stage.config.search;
    search.population_size = 6;
    search.num_mutations = 2;
    search.num_crossovers = 2;
    search.num_iterations = 3;
    search.num_parents = 4;
    search.generational = generational;
    search.lag = 4;
    stage.space.geometry = {.rotary_dim = 16, .rope_theta = 10000.0, .original_length = 512};
    stage.space.target_length = kFixtureTargetLength;
    stage.space.grid = search_grid(search, 4.0);
    stage.space.n_hat_choices = search.n_hat_choices;
    stage.space.attention_policies = search.attention_policies;
    stage.budget = default_budget(search);
    for (std::size_t order = 0; order < kFixtureSearchDocuments; ++order) {
      const std::string name = fixture_document_name(index, /*heldout=*/false, order);
      stage.search.push_back({.digest = digest(fixture_document(name)), .scored_tokens = kFixtureScoredTokens});
    }
    for (std::size_t order = 0; order < kFixtureHeldoutDocuments; ++order) {
      const std::string name = fixture_document_name(index, /*heldout=*/true, order);
      stage.heldout.push_back({.digest = digest(fixture_document(name)), .scored_tokens = kFixtureScoredTokens});
    }
    plan.stages.push_back(std::move(stage));
  }
  return plan;
}

/// The same search by method "gradient": its candidates ask for scores and gradients of some of the search documents.
inline SearchPlan gradient_plan(std::size_t stages = 1) {
  SearchPlan plan = small_plan(/*generational=*/true, stages);
  for (PlannedStage& stage : plan.stages) {
    stage.config.search.method = SearchMethod::kGradient;
    stage.passes = 60.0;
    stage.budget = planned_candidates(stage.config.search, stage.space, resources_of(stage));
  }
  return plan;
}

/// The same search of a checkpoint that reaches 512 tokens by itself, so that winner and baselines are compared there.
inline SearchPlan within_reach(SearchPlan plan) {
  for (PlannedStage& stage : plan.stages) {
    stage.carried.reached_length = stage.space.geometry.original_length;
    for (PlannedDocument& document : stage.heldout) document.scored_within_reach = kFixtureScoredTokens;
  }
  return plan;
}

/// The same search with final documents.
inline SearchPlan with_final_documents(SearchPlan plan) {
  for (std::size_t stage = 0; stage < plan.stages.size(); ++stage) {
    for (std::size_t order = 0; order < kFixtureFinalDocuments; ++order) {
      plan.stages[stage].final_documents.push_back({digest(fixture_document(fixture_final_document_name(stage, order))),
                                                    kFixtureScoredTokens, kFixtureScoredTokens});
    }
  }
  return plan;
}

/// The documents of a plan of so many stages, by digest.
inline std::map<std::string, Document> fixture_documents(std::size_t stages) {
  std::map<std::string, Document> documents;
  const auto add = [&](const std::string& name) {
    Document document = fixture_document(name);
    std::string key = digest(document);
    documents.emplace(std::move(key), std::move(document));
  };
  for (std::size_t stage = 0; stage < stages; ++stage) {
    for (std::size_t order = 0; order < kFixtureFinalDocuments; ++order) {
      add(fixture_final_document_name(stage, order));
    }
    for (const bool heldout : {false, true}) {
      for (std::size_t order = 0; order < (heldout ? kFixtureHeldoutDocuments : kFixtureSearchDocuments); ++order) {
        add(fixture_document_name(stage, heldout, order));
      }
    }
  }
  return documents;
}

/// A correct result of `small_plan` with the given mean NLL in nats per token.
inline ScoreResult result_with_mean(double mean_nll) {
  const double sum = mean_nll * static_cast<double>(kFixtureScoredTokens);
  return {
      .nll_sum = sum, .scored_tokens = kFixtureScoredTokens, .blocks = {{sum, kFixtureScoredTokens}}, .seconds = 0.5};
}

/// What makes documents differ, in [0, 0.1).
inline double synthetic_tilt(const std::string& document) {
  return static_cast<double>(std::stoi(document.substr(0, 4), nullptr, /*base=*/16) % 97) / 970.0;
}

/// ln λ of a pair over its optimum for the document; [pairs].
inline std::vector<double> synthetic_errors(const std::vector<double>& lambda, const std::string& document) {
  std::vector<double> errors;
  for (std::size_t pair = 0; pair < lambda.size(); ++pair) {
    const double share = static_cast<double>(pair) / static_cast<double>(lambda.size());
    errors.push_back(std::log(lambda[pair] / (1.0 + (2.4 + synthetic_tilt(document)) * share * share)));
  }
  return errors;
}

/// A smooth function of factors and the document's digest, with its optimum at none of the seeds.
inline double synthetic_mean_nll(const std::vector<double>& lambda, const std::string& document) {
  double sum = 0.0;
  for (const double error : synthetic_errors(lambda, document)) sum += error * error;
  return 2.0 + synthetic_tilt(document) + sum / static_cast<double>(lambda.size());
}

/// The correct result of an evaluation of `small_plan` or `gradient_plan`. The NLL does not depend on m.
inline ScoreResult synthetic_result(EvaluationKind kind, const std::vector<double>& lambda,
                                    const std::string& document) {
  ScoreResult result = result_with_mean(synthetic_mean_nll(lambda, document));
  if (kind != EvaluationKind::kGradient) return result;
  for (const double error : synthetic_errors(lambda, document)) {
    const double by_mean = 2.0 * error / static_cast<double>(lambda.size());
    result.gradient.push_back(by_mean * static_cast<double>(kFixtureScoredTokens));
  }
  result.gradient.push_back(0.0);
  return result;
}

}  // namespace longrope
