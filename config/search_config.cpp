#include "config/search_config.h"

#include "common/error.h"
#include "common/sha256.h"
#include "common/suggestion.h"
#include "config/stage_keys.h"
#include "config/toml_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ratio>
#include <string_view>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kMaxStepsPerUnit = 10'000;
constexpr double kMaxUpperBound = 100'000.0;  // times kMaxStepsPerUnit still fits a 32-bit grid step
constexpr std::array<std::string_view, 6> kSpaceNames = {kFullSpace, "theta", "yarn", "llama3", "boundary", "critical"};
constexpr std::array<std::string_view, 4> kSeedNames = {"pi", "ntk", "yarn", "ramp"};

SearchMethod parse_search_method(std::string_view text) {
  std::vector<std::string_view> known;
  for (const SearchMethod method :
       {SearchMethod::kLongrope, SearchMethod::kAuthors, SearchMethod::kRandom, SearchMethod::kGradient}) {
    if (to_string(method) == text) return method;
    known.push_back(to_string(method));
  }
  throw InputError(
      fmt::format("search method must be longrope, authors, random or gradient: {}{}", text, suggestion(text, known)));
}

void read_upper_bound(SearchConfig& search, const TomlValue& value) {
  if (value.node.is_number()) {
    search.upper_bound = value.number({.low = 1.0, .high = kMaxUpperBound, .low_excluded = true});
  } else {
    const std::string text = value.node.is_string() ? value.text() : "";
    if (text != "1.25s" && text != "1+s") value.refuse("must be \"1.25s\", \"1+s\" or a number");
    search.upper_bound_one_plus_ratio = text == "1+s";
  }
}

void read_seeds(SearchConfig& search, const TomlValue& value) {
  search.seeds.clear();
  for (const TomlValue& element : value.elements()) {
    const std::string seed = element.text();
    if (std::find(kSeedNames.begin(), kSeedNames.end(), seed) == kSeedNames.end()) {
      element.refuse("must be among pi, ntk, yarn, ramp");
    }
    search.seeds.push_back(seed);
  }
}

void read_space(SearchConfig& search, const TomlValue& value) {
  search.space = value.text();
  if (std::ranges::find(kSpaceNames, search.space) == kSpaceNames.end()) {
    value.refuse(fmt::format("must be among {}{}", fmt::join(kSpaceNames, ", "),
                             suggestion(search.space, {kSpaceNames.begin(), kSpaceNames.end()})));
  }
}

void read_seed_files(SearchConfig& search, const TomlValue& value) {
  for (const TomlValue& element : value.elements()) search.seed_files.push_back(element.path());
}

void read_attention_policies(SearchConfig& search, const TomlValue& value) {
  search.attention_policies.clear();
  for (const TomlValue& element : value.elements()) {
    search.attention_policies.push_back(element.parsed(parse_attention_policy));
  }
  if (search.attention_policies.empty()) value.refuse("must name at least one policy");
}

void read_n_hat(SearchConfig& search, const TomlValue& value) {
  search.n_hat_choices.clear();
  if (value.node.is_integer()) {
    search.n_hat_choices.push_back(value.integer(0, kMaxTomlLength));
    return;
  }
  if (!value.node.is_array()) value.refuse("must be an integer or an array of integers");
  for (const TomlValue& element : value.elements()) search.n_hat_choices.push_back(element.integer(0, kMaxTomlLength));
  if (search.n_hat_choices.empty()) value.refuse("must hold at least one choice");
}

nlohmann::json upper_bound_identity(const SearchConfig& search) {
  if (search.upper_bound) return *search.upper_bound;
  return search.upper_bound_one_plus_ratio ? "1+s" : "1.25s";
}

nlohmann::json seed_file_digests(const SearchConfig& search) {
  nlohmann::json digests = nlohmann::json::array();
  for (const std::filesystem::path& file : search.seed_files) digests.push_back(sha256_of_file(file));
  return digests;
}

nlohmann::json attention_policy_names(const SearchConfig& search) {
  nlohmann::json names = nlohmann::json::array();
  for (const AttentionPolicy policy : search.attention_policies) names.push_back(to_string(policy));
  return names;
}

/// In the identity of a gradient search only: databases from before there was one go on.
TomlField<SearchConfig> of_gradient(TomlField<SearchConfig> field) {
  const auto identity = field.identity;
  field.identity = [identity](const SearchConfig& search) -> std::optional<nlohmann::json> {
    return search.method == SearchMethod::kGradient ? identity(search) : std::nullopt;
  };
  return field;
}

TomlKeys<SearchConfig> search_keys() {
  using S = SearchConfig;
  return {
      {"method", choice(&S::method, &parse_search_method)},
      {"population_size", integer(&S::population_size, 1)},
      {"num_mutations", integer(&S::num_mutations, 0)},
      {"num_crossovers", integer(&S::num_crossovers, 0)},
      {"num_iterations", integer(&S::num_iterations, 0)},
      {"num_parents", integer(&S::num_parents, 2)},
      {"mutation_probability", number(&S::mutation_probability, kTomlProbability)},
      {"crossover_probability", number(&S::crossover_probability, kTomlProbability)},
      {"max_crossover_tries", integer(&S::max_crossover_tries, 1)},
      {"generational", flag(&S::generational)},
      {"lag", integer(&S::lag, 1)},
      {"steps_per_unit", integer(&S::steps_per_unit, 1, kMaxStepsPerUnit)},
      {"upper_bound", {read_upper_bound, upper_bound_identity}},
      {"seeds", {read_seeds, value_of(&S::seeds)}},
      {"seed_files", {read_seed_files, seed_file_digests}},
      {"attention_policies", {read_attention_policies, attention_policy_names}},
      {"attention_value", number(&S::attention_value, {.low = 0.0, .high = 100.0, .low_excluded = true})},
      {"n_hat", {read_n_hat, value_of(&S::n_hat_choices)}},
      {"block_move_probability", number(&S::block_move_probability, kTomlProbability)},
      {"block_move_sigma", number(&S::block_move_sigma, {.low = 0.0, .high = 10.0, .low_excluded = true})},
      {"space", of_gradient({read_space, value_of(&S::space)})},
      {"batch", of_gradient(integer(&S::batch, 1))},
      {"step_size", of_gradient(number(&S::step_size, {.low = 0.0, .high = 10.0, .low_excluded = true}))},
  };
}

void read_time_limit(StopConfig& stop, const TomlValue& value) {
  constexpr double kMaxMinutes = 525'600.0;  // a year
  const std::chrono::duration<double, std::ratio<60>> minutes(value.number({.low = 1.0 / 60.0, .high = kMaxMinutes}));
  stop.time_limit = std::chrono::round<std::chrono::seconds>(minutes);
}

TomlKeys<StopConfig> stop_keys() {
  return {
      {"max_candidates", integer(&StopConfig::max_candidates, 1)},
      {"max_passes", later_integer(&StopConfig::max_passes, 1)},
      {"patience", integer(&StopConfig::patience, 1)},
      {"min_relative_improvement", number(&StopConfig::min_relative_improvement, kTomlProbability)},
      {"time_limit_minutes", {read_time_limit, kNoIdentity}},
  };
}

void read_seed_stages(SearchStage& stage, const TomlValue& value) {
  for (const TomlValue& element : value.elements()) stage.seed_stages.push_back(element.text());
}

/// Absent without any: databases from before there were seed stages go on.
std::optional<nlohmann::json> seed_stages_identity(const SearchStage& stage) {
  if (stage.seed_stages.empty()) return std::nullopt;
  return stage.seed_stages;
}

}  // namespace

TomlKeys<SearchStage> search_stage_keys() {
  using S = SearchStage;
  return {
      {"target_length", integer(&S::target_length, 2, kMaxTomlLength), /*required=*/true},
      {"search_documents", path(&S::search_documents), /*required=*/true},
      {"heldout_documents", path(&S::heldout_documents), /*required=*/true},
      {"search_count", integer(&S::search_count, 1)},
      {"heldout_count", integer(&S::heldout_count, 1)},
      {"finalists", integer(&S::finalists, 1)},
      {"final_documents", path(&S::final_documents)},
      {"final_count", later_integer(&S::final_count, 1)},
      {"seed_stages", {read_seed_stages, seed_stages_identity}},
      {"search", table(&S::search, search_keys(), "[stage.search]")},
      {"stop", table(&S::stop, stop_keys(), "[stage.stop]")},
  };
}

void check_search_stage(const SearchStage& stage, const TomlValue& table) {
  const SearchConfig& search = stage.search;
  const auto refuse = [&](const std::string& rule) {
    throw InputError("stage " + stage.name + ": " + rule + table.place());
  };
  if (stage.search_documents == stage.heldout_documents) {
    refuse("heldout_documents must not be the search_documents: " + stage.heldout_documents.string());
  }
  if (stage.final_count && stage.final_documents.empty()) {
    refuse("final_count must come with final_documents: " + std::to_string(*stage.final_count));
  }
  if (stage.final_documents == stage.search_documents) {
    refuse("final_documents must not be the search_documents: " + stage.final_documents.string());
  }
  if (stage.final_documents == stage.heldout_documents) {
    refuse("final_documents must not be the heldout_documents: " + stage.final_documents.string());
  }
  const std::int64_t n_hat = *std::max_element(search.n_hat_choices.begin(), search.n_hat_choices.end());
  if (n_hat >= stage.target_length) refuse("n_hat must be below target_length: " + std::to_string(n_hat));
  if (search.seeds.empty() && search.seed_files.empty() && stage.seed_stages.empty()) {
    refuse("seeds, seed_files and seed_stages must not all be empty");
  }
  const bool is_gradient = search.method == SearchMethod::kGradient;
  if (is_gradient && stage.stop.patience) {
    refuse("patience must not be given with method \"gradient\", whose steps are scored on different documents: " +
           std::to_string(*stage.stop.patience));
  }
  if (is_gradient && stage.stop.max_candidates) {
    refuse("max_candidates must be max_passes with method \"gradient\": " + std::to_string(*stage.stop.max_candidates));
  }
  if (!is_gradient && search.space != kFullSpace) {
    refuse("space must be full unless the method is \"gradient\": " + search.space);
  }
  if (!is_gradient && stage.stop.max_passes) {
    refuse("max_passes must come with method \"gradient\": " + std::to_string(*stage.stop.max_passes));
  }
  if (search.num_iterations > 0 && search.num_mutations + search.num_crossovers == 0) {
    refuse("num_mutations and num_crossovers must not both be 0 when num_iterations is not: " +
           std::to_string(search.num_iterations));
  }
}

nlohmann::json trajectory_settings(const SearchStage& stage) {
  nlohmann::json settings = identity_of(search_stage_keys(), stage);
  settings["name"] = stage.name;
  if (stage.recovery) settings["recovery"] = true;  // absent otherwise: databases from before it was there go on
  return settings;
}

std::string_view to_string(SearchMethod method) {
  switch (method) {
    case SearchMethod::kLongrope:
      return "longrope";
    case SearchMethod::kAuthors:
      return "authors";
    case SearchMethod::kRandom:
      return "random";
    case SearchMethod::kGradient:
      return "gradient";
  }
  throw Error("search method out of range: " + std::to_string(static_cast<int>(method)));
}

}  // namespace longrope
