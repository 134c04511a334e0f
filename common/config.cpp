#include "common/config.h"

#include "common/error.h"
#include "common/read_file.h"
#include "common/sha256.h"
#include "common/toml_table.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <ratio>
#include <utility>

namespace longrope {
namespace {

constexpr std::size_t kMaxConfigBytes = 1U << 20;
constexpr std::size_t kMaxNameBytes = 64;      // run and stage names become parts of file names
constexpr std::int64_t kMaxCount = 1'000'000;  // candidates, documents, iterations …
constexpr std::int64_t kMaxLength = 1 << 27;   // tokens
constexpr std::int64_t kMaxStepsPerUnit = 10'000;
constexpr double kMaxUpperBound = 100'000.0;  // times kMaxStepsPerUnit still fits a 32-bit grid step
constexpr NumberRange kProbability{.low = 0.0, .high = 1.0};
constexpr std::array<std::string_view, 4> kSeedNames = {"pi", "ntk", "yarn", "ramp"};

// Readers of one key's value into a member.
template <typename Target>
using Read = std::function<void(Target&, const TomlValue&)>;

template <typename Target, typename Member>
Read<Target> integer(Member Target::* member, std::int64_t low, std::int64_t high = kMaxCount) {
  return
      [=](Target& target, const TomlValue& value) { target.*member = static_cast<Member>(value.integer(low, high)); };
}
template <typename Target>
Read<Target> number(double Target::* member, NumberRange range) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.number(range); };
}
template <typename Target>
Read<Target> seconds(std::chrono::milliseconds Target::* member) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.seconds(); };
}
template <typename Target>
Read<Target> path(std::filesystem::path Target::* member) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.path(); };
}
template <typename Target, typename Enum>
Read<Target> choice(Enum Target::* member, Enum (*parse)(std::string_view)) {
  return [=](Target& target, const TomlValue& value) { target.*member = value.parsed(parse); };
}
template <typename Target>
Read<Target> identifier(std::string Target::* member) {
  return [=](Target& target, const TomlValue& value) {
    constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    target.*member = value.text();
    const std::string& text = target.*member;
    if (text.size() > kMaxNameBytes || text.front() == '.' || text.find_first_not_of(kAllowed) != std::string::npos) {
      value.refuse("must be 1 to 64 of the characters a-z A-Z 0-9 . _ - and not begin with a dot");
    }
  };
}
template <typename Target, typename Member>
Read<Target> table(Member Target::* member, const TomlKeys<Member>& keys, const std::string& title) {
  return [=](Target& target, const TomlValue& value) {
    read_toml_table({title, value.node, value.file}, keys, target.*member);
  };
}
/// A table whose keys go into members of the target itself.
template <typename Target>
Read<Target> table(const TomlKeys<Target>& keys, const std::string& title) {
  return
      [=](Target& target, const TomlValue& value) { read_toml_table({title, value.node, value.file}, keys, target); };
}

SearchMethod parse_search_method(std::string_view text) {
  for (const SearchMethod method : {SearchMethod::kLongrope, SearchMethod::kAuthors, SearchMethod::kRandom}) {
    if (to_string(method) == text) return method;
  }
  throw InputError("search method must be longrope, authors or random: " + std::string(text));
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
    search.n_hat_choices.push_back(value.integer(0, kMaxLength));
    return;
  }
  if (!value.node.is_array()) value.refuse("must be an integer or an array of integers");
  for (const TomlValue& element : value.elements()) search.n_hat_choices.push_back(element.integer(0, kMaxLength));
  if (search.n_hat_choices.empty()) value.refuse("must hold at least one choice");
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
      {"mutation_probability", number(&S::mutation_probability, kProbability)},
      {"crossover_probability", number(&S::crossover_probability, kProbability)},
      {"max_crossover_tries", integer(&S::max_crossover_tries, 1)},
      {"generational", [](S& search, const TomlValue& value) { search.generational = value.flag(); }},
      {"lag", integer(&S::lag, 1)},
      {"steps_per_unit", integer(&S::steps_per_unit, 1, kMaxStepsPerUnit)},
      {"upper_bound", read_upper_bound},
      {"seeds", read_seeds},
      {"seed_files", read_seed_files},
      {"attention_policies", read_attention_policies},
      {"attention_value", number(&S::attention_value, {.low = 0.0, .high = 100.0, .low_excluded = true})},
      {"n_hat", read_n_hat},
      {"block_move_probability", number(&S::block_move_probability, kProbability)},
      {"block_move_sigma", number(&S::block_move_sigma, {.low = 0.0, .high = 10.0, .low_excluded = true})},
  };
}

TomlKeys<StopConfig> stop_keys() {
  constexpr double kMaxMinutes = 525'600.0;  // a year
  return {
      {"max_candidates", integer(&StopConfig::max_candidates, 1)},
      {"patience", integer(&StopConfig::patience, 1)},
      {"min_relative_improvement", number(&StopConfig::min_relative_improvement, kProbability)},
      {"time_limit_minutes",
       [](StopConfig& stop, const TomlValue& value) {
         const std::chrono::duration<double, std::ratio<60>> minutes(
             value.number({.low = 1.0 / 60.0, .high = kMaxMinutes}));
         stop.time_limit = std::chrono::round<std::chrono::seconds>(minutes);
       }},
  };
}

TomlKeys<StageConfig> stage_keys() {
  using S = StageConfig;
  return {
      {"name", identifier(&S::name), /*required=*/true},
      {"target_length", integer(&S::target_length, 2, kMaxLength), /*required=*/true},
      {"search_documents", path(&S::search_documents), /*required=*/true},
      {"heldout_documents", path(&S::heldout_documents), /*required=*/true},
      {"search_count", integer(&S::search_count, 1)},
      {"heldout_count", integer(&S::heldout_count, 1)},
      {"finalists", integer(&S::finalists, 1)},
      {"search", table(&S::search, search_keys(), "[stage.search]")},
      {"stop", table(&S::stop, stop_keys(), "[stage.stop]")},
  };
}

/// Rules between keys; `value` is the stage's table.
void check_stage(const StageConfig& stage, const TomlValue& value) {
  const SearchConfig& search = stage.search;
  const auto refuse = [&](const std::string& rule) {
    throw InputError("stage " + stage.name + ": " + rule + value.place());
  };
  if (stage.search_documents == stage.heldout_documents) {
    refuse("heldout_documents must not be the search_documents: " + stage.heldout_documents.string());
  }
  const std::int64_t n_hat = *std::max_element(search.n_hat_choices.begin(), search.n_hat_choices.end());
  if (n_hat >= stage.target_length) refuse("n_hat must be below target_length: " + std::to_string(n_hat));
  if (search.seeds.empty() && search.seed_files.empty()) refuse("seeds and seed_files must not both be empty");
  if (search.num_iterations > 0 && search.num_mutations + search.num_crossovers == 0) {
    refuse("num_mutations and num_crossovers must not both be 0 when num_iterations is not: " +
           std::to_string(search.num_iterations));
  }
}

void read_stages(Config& config, const TomlValue& value) {
  const toml::array* array = value.node.as_array();
  if (array == nullptr || array->empty() || !array->is_homogeneous<toml::table>()) {
    value.refuse("must be an array of tables, each written [[stage]]");
  }
  const TomlKeys<StageConfig> keys = stage_keys();
  for (const toml::node& node : *array) {
    const TomlValue entry{"[[stage]]", node, value.file};
    StageConfig stage;
    read_toml_table(entry, keys, stage);
    check_stage(stage, entry);
    const auto same_name = [&](const StageConfig& other) { return other.name == stage.name; };
    if (std::any_of(config.stages.begin(), config.stages.end(), same_name)) {
      throw InputError("stage names must differ: " + stage.name + entry.place());
    }
    config.stages.push_back(std::move(stage));
  }
}

void read_scheduling(Config& config, const TomlValue& value) {
  using S = SchedulingConfig;
  constexpr std::int64_t kMaxCredit = 64;
  static const TomlKeys<S> keys = {
      {"heartbeat_interval_seconds", seconds(&S::heartbeat_interval)},
      {"worker_timeout_seconds", seconds(&S::worker_timeout)},
      {"lease_timeout_seconds", seconds(&S::lease_timeout)},
      {"credit", integer(&S::credit, 1, kMaxCredit)},
      {"max_failures", integer(&S::max_failures, 1)},
  };
  read_toml_table({"[scheduling]", value.node, value.file}, keys, config.scheduling);
  for (const auto& [name, timeout] : {std::pair("worker_timeout_seconds", config.scheduling.worker_timeout),
                                      std::pair("lease_timeout_seconds", config.scheduling.lease_timeout)}) {
    if (timeout > config.scheduling.heartbeat_interval) continue;
    throw InputError(std::string(name) + " must exceed heartbeat_interval_seconds: " + std::to_string(timeout.count()) +
                     " ms" + value.place());
  }
}

TomlKeys<Config> config_keys() {
  using C = Config;
  constexpr std::int64_t kMaxThreads = 1024;
  const TomlKeys<C> run = {{"name", identifier(&C::name), /*required=*/true},
                           {"seed", integer(&C::seed, 0, std::numeric_limits<std::int64_t>::max())}};
  const TomlKeys<C> model = {{"path", path(&C::model), /*required=*/true},
                             {"dtype", choice(&C::dtype, &parse_compute_dtype)},
                             {"angles", choice(&C::angles, &parse_angle_mode)}};
  const TomlKeys<C> worker = {{"threads", integer(&C::threads_per_worker, 1, kMaxThreads)}};
  return {
      {"run", table(run, "[run]"), /*required=*/true}, {"model", table(model, "[model]"), /*required=*/true},
      {"worker", table(worker, "[worker]")},           {"scheduling", read_scheduling},
      {"stage", read_stages, /*required=*/true},
  };
}

nlohmann::json trajectory_settings(const SearchConfig& search) {
  nlohmann::json upper_bound = search.upper_bound_one_plus_ratio ? "1+s" : "1.25s";
  if (search.upper_bound) upper_bound = *search.upper_bound;
  nlohmann::json policies = nlohmann::json::array();
  for (const AttentionPolicy policy : search.attention_policies) policies.push_back(to_string(policy));
  nlohmann::json seed_files = nlohmann::json::array();
  for (const std::filesystem::path& file : search.seed_files) seed_files.push_back(sha256_of_file(file));
  return {
      {"method", to_string(search.method)},
      {"population_size", search.population_size},
      {"num_mutations", search.num_mutations},
      {"num_crossovers", search.num_crossovers},
      {"num_iterations", search.num_iterations},
      {"num_parents", search.num_parents},
      {"mutation_probability", search.mutation_probability},
      {"crossover_probability", search.crossover_probability},
      {"max_crossover_tries", search.max_crossover_tries},
      {"generational", search.generational},
      {"lag", search.lag},
      {"steps_per_unit", search.steps_per_unit},
      {"upper_bound", upper_bound},
      {"seeds", search.seeds},
      {"seed_files", seed_files},
      {"attention_policies", policies},
      {"attention_value", search.attention_value},
      {"n_hat", search.n_hat_choices},
      {"block_move_probability", search.block_move_probability},
      {"block_move_sigma", search.block_move_sigma},
  };
}

template <typename T>
nlohmann::json or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

}  // namespace

std::string_view to_string(ComputeDtype dtype) { return dtype == ComputeDtype::kBf16 ? "bf16" : "fp32"; }

ComputeDtype parse_compute_dtype(std::string_view text) {
  if (text == "fp32") return ComputeDtype::kFp32;
  if (text == "bf16") return ComputeDtype::kBf16;
  throw InputError("dtype must be fp32 or bf16: " + std::string(text));
}

std::string_view to_string(SearchMethod method) {
  switch (method) {
    case SearchMethod::kLongrope:
      return "longrope";
    case SearchMethod::kAuthors:
      return "authors";
    case SearchMethod::kRandom:
      return "random";
  }
  throw Error("search method out of range: " + std::to_string(static_cast<int>(method)));
}

Config load_config(const std::filesystem::path& path) {
  Config config;
  config.file = path;
  config.text = read_file(path, kMaxConfigBytes);
  const toml::table root = parse_toml(config.text, path);
  read_toml_table({"the file", root, config.file}, config_keys(), config);
  return config;
}

std::string trajectory_settings(const Config& config) {
  nlohmann::json stages = nlohmann::json::array();
  for (const StageConfig& stage : config.stages) {
    stages.push_back({
        {"name", stage.name},
        {"target_length", stage.target_length},
        {"search_count", or_null(stage.search_count)},
        {"heldout_count", or_null(stage.heldout_count)},
        {"finalists", stage.finalists},
        {"search", trajectory_settings(stage.search)},
        {"stop",
         {{"max_candidates", or_null(stage.stop.max_candidates)},
          {"patience", or_null(stage.stop.patience)},
          {"min_relative_improvement", stage.stop.min_relative_improvement}}},
    });
  }
  return nlohmann::json({{"seed", config.seed},
                         {"dtype", to_string(config.dtype)},
                         {"angles", to_string(config.angles)},
                         {"threads", config.threads_per_worker},
                         {"stages", stages}})
      .dump();
}

}  // namespace longrope
