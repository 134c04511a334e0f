#include "config/config.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

// Line numbers that the tests name: [run] 1, name 2, [[stage]] 6, target_length 8.
constexpr const char* kMinimal = R"([run]
name = "demo"

[model]
path = "models/tiny"
[[stage]]
name = "4k"
target_length = 4096
search_documents = "search.safetensors"
heldout_documents = "/data/heldout.safetensors"
)";

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) /
                 ("config_test-" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    file_ = directory_ / "demo.toml";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Config load(const std::string& text) {
    std::ofstream(file_, std::ios::binary) << text;
    return load_config(file_);
  }
  Config load_search(const std::string& keys) { return load(std::string(kMinimal) + "[stage.search]\n" + keys + "\n"); }

  std::string refusal(const std::string& text) {
    try {
      static_cast<void>(load(text));
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  }
  /// The refusal of a configuration whose line 12 is `key`.
  std::string search_refusal(const std::string& key) {
    return refusal(std::string(kMinimal) + "[stage.search]\n" + key + "\n");
  }
  [[nodiscard]] std::string at(int line) const { return "(" + file_.string() + ":" + std::to_string(line) + ")"; }

  std::filesystem::path directory_;
  std::filesystem::path file_;
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST_F(ConfigTest, MinimalFileHasThePapersDefaults) {
  const Config config = load(kMinimal);
  EXPECT_EQ(config.name, "demo");
  EXPECT_EQ(config.text, kMinimal);
  EXPECT_EQ(config.file, file_);
  EXPECT_EQ(config.dtype, ComputeDtype::kFp32);
  EXPECT_EQ(config.angles, AngleMode::kFp64);
  ASSERT_EQ(config.stages.size(), 1U);
  const SearchConfig& search = std::get<SearchStage>(config.stages[0].work).search;
  // Spec §4.2, targets up to 256k.
  EXPECT_EQ(search.method, SearchMethod::kLongrope);
  EXPECT_EQ(search.population_size, 64);
  EXPECT_EQ(search.num_mutations, 16);
  EXPECT_EQ(search.num_crossovers, 16);
  EXPECT_EQ(search.num_iterations, 40);
  EXPECT_EQ(search.num_parents, 32);
  EXPECT_EQ(search.mutation_probability, 0.3);
  EXPECT_EQ(search.max_crossover_tries, 20);
  EXPECT_EQ(search.steps_per_unit, 100);
  EXPECT_TRUE(search.generational);
  EXPECT_THAT(search.seeds, ElementsAre("pi", "ntk", "yarn"));
  EXPECT_THAT(search.n_hat_choices, ElementsAre(0));
  EXPECT_FALSE(std::get<SearchStage>(config.stages[0].work).search_count.has_value());
  EXPECT_FALSE(std::get<SearchStage>(config.stages[0].work).stop.max_candidates.has_value());
}

TEST_F(ConfigTest, RelativePathsAreRelativeToTheFile) {
  const Config config = load_search("seed_files = [\"../factors/a.json\"]");
  EXPECT_EQ(config.model, directory_ / "models/tiny");
  EXPECT_EQ(std::get<SearchStage>(config.stages[0].work).search_documents, directory_ / "search.safetensors");
  EXPECT_EQ(std::get<SearchStage>(config.stages[0].work).heldout_documents, "/data/heldout.safetensors");
  EXPECT_THAT(std::get<SearchStage>(config.stages[0].work).search.seed_files,
              ElementsAre((directory_.parent_path() / "factors/a.json").lexically_normal()));
}

TEST_F(ConfigTest, EveryKeyIsRead) {
  const Config config = load(R"([run]
name = "all"
seed = 9223372036854775807
[model]
path = "m"
dtype = "bf16"
angles = "hf_fp32"
[worker]
threads = 3
[scheduling]
heartbeat_interval_seconds = 0.5
worker_timeout_seconds = 7
lease_timeout_seconds = 8.25
credit = 4
max_failures = 5
[[stage]]
name = "one"
target_length = 131072
search_documents = "s"
heldout_documents = "h"
search_count = 6
heldout_count = 7
final_documents = "f"
final_count = 8
finalists = 9
[stage.search]
method = "authors"
population_size = 10
num_mutations = 11
num_crossovers = 12
num_iterations = 13
num_parents = 14
mutation_probability = 0.15
crossover_probability = 1
max_crossover_tries = 16
generational = false
lag = 17
steps_per_unit = 18
upper_bound = 19.5
seeds = ["ramp"]
seed_files = ["/f"]
attention_policies = ["none", "value"]
attention_value = 1.25
n_hat = [0, 20]
block_move_probability = 0.21
block_move_sigma = 0.22
[stage.stop]
max_candidates = 23
patience = 24
min_relative_improvement = 0.25
time_limit_minutes = 1.5
[[stage]]
name = "two"
target_length = 2
search_documents = "s"
heldout_documents = "h"
[stage.search]
upper_bound = "1+s"
n_hat = 1
)");
  EXPECT_EQ(config.seed, 9223372036854775807U);
  EXPECT_EQ(config.dtype, ComputeDtype::kBf16);
  EXPECT_EQ(config.angles, AngleMode::kHfFp32);
  EXPECT_EQ(config.threads_per_worker, 3);
  EXPECT_EQ(config.scheduling.heartbeat_interval, 500ms);
  EXPECT_EQ(config.scheduling.worker_timeout, 7s);
  EXPECT_EQ(config.scheduling.lease_timeout, 8250ms);
  EXPECT_EQ(config.scheduling.credit, 4);
  EXPECT_EQ(config.scheduling.max_failures, 5);
  ASSERT_EQ(config.stages.size(), 2U);
  const auto& stage = std::get<SearchStage>(config.stages[0].work);
  EXPECT_EQ(stage.name, "one");
  EXPECT_EQ(stage.target_length, 131072);
  EXPECT_EQ(stage.search_count, 6);
  EXPECT_EQ(stage.heldout_count, 7);
  EXPECT_EQ(stage.final_documents, directory_ / "f");
  EXPECT_EQ(stage.final_count, 8);
  EXPECT_EQ(stage.finalists, 9);
  EXPECT_EQ(stage.search.method, SearchMethod::kAuthors);
  EXPECT_EQ(stage.search.population_size, 10);
  EXPECT_EQ(stage.search.num_mutations, 11);
  EXPECT_EQ(stage.search.num_crossovers, 12);
  EXPECT_EQ(stage.search.num_iterations, 13);
  EXPECT_EQ(stage.search.num_parents, 14);
  EXPECT_EQ(stage.search.mutation_probability, 0.15);
  EXPECT_EQ(stage.search.crossover_probability, 1.0);
  EXPECT_EQ(stage.search.max_crossover_tries, 16);
  EXPECT_FALSE(stage.search.generational);
  EXPECT_EQ(stage.search.lag, 17);
  EXPECT_EQ(stage.search.steps_per_unit, 18);
  EXPECT_EQ(stage.search.upper_bound, 19.5);
  EXPECT_FALSE(stage.search.upper_bound_one_plus_ratio);
  EXPECT_THAT(stage.search.seeds, ElementsAre("ramp"));
  EXPECT_THAT(stage.search.seed_files, ElementsAre("/f"));
  EXPECT_THAT(stage.search.attention_policies, ElementsAre(AttentionPolicy::kNone, AttentionPolicy::kValue));
  EXPECT_EQ(stage.search.attention_value, 1.25);
  EXPECT_THAT(stage.search.n_hat_choices, ElementsAre(0, 20));
  EXPECT_EQ(stage.search.block_move_probability, 0.21);
  EXPECT_EQ(stage.search.block_move_sigma, 0.22);
  EXPECT_EQ(stage.stop.max_candidates, 23);
  EXPECT_EQ(stage.stop.patience, 24);
  EXPECT_EQ(stage.stop.min_relative_improvement, 0.25);
  EXPECT_EQ(stage.stop.time_limit, 90s);
  EXPECT_TRUE(std::get<SearchStage>(config.stages[1].work).search.upper_bound_one_plus_ratio);
  EXPECT_FALSE(std::get<SearchStage>(config.stages[1].work).search.upper_bound.has_value());
  EXPECT_THAT(std::get<SearchStage>(config.stages[1].work).search.n_hat_choices, ElementsAre(1));
}

TEST_F(ConfigTest, MessageStatesRuleValueAndPlace) {
  EXPECT_EQ(search_refusal("mutation_probability = 1.5"), "mutation_probability must lie in [0, 1]: 1.5 " + at(12));
  EXPECT_EQ(search_refusal("num_parents = 1"), "num_parents must lie in [2, 1000000]: 1 " + at(12));
  EXPECT_EQ(search_refusal("population_size = \"many\""), "population_size must be an integer: 'many' " + at(12));
}

TEST_F(ConfigTest, UnknownKeyIsRefusedWithTheNearestKey) {
  EXPECT_EQ(search_refusal("mutation_probabilty = 0.5"),
            "unknown key in [stage.search]: mutation_probabilty; did you mean mutation_probability? " + at(12));
  EXPECT_EQ(search_refusal("colour = 1"), "unknown key in [stage.search]: colour " + at(12));
  EXPECT_THAT(search_refusal("method = \"longrop\""),
              HasSubstr("must be longrope, authors, random or gradient: longrop; did you mean longrope?"));
  EXPECT_EQ(refusal(std::string(kMinimal) + "[stages]\n"),
            "unknown key in the file: stages; did you mean stage? " + at(11));
  EXPECT_THAT(search_refusal(std::string(10'000, 'a') + " = 1"), AllOf(HasSubstr("unknown key"), HasSubstr("…")));
}

TEST_F(ConfigTest, DuplicateKeyIsRefused) {
  EXPECT_THAT(search_refusal("lag = 2\nlag = 3"), AllOf(HasSubstr("lag"), EndsWith(at(13))));
  EXPECT_THAT(refusal(std::string(kMinimal) + "[run]\nseed = 1\n"), AllOf(HasSubstr("run"), EndsWith(at(11))));
}

TEST_F(ConfigTest, MissingRequiredKeyIsRefused) {
  EXPECT_EQ(refusal(replaced(kMinimal, "name = \"demo\"", "")), "name must be given in [run] " + at(1));
  EXPECT_EQ(refusal(replaced(kMinimal, "target_length = 4096", "")),
            "target_length must be given in [[stage]] " + at(6));
  EXPECT_THAT(refusal(replaced(kMinimal, "heldout_documents = \"/data/heldout.safetensors\"", "")),
              StartsWith("heldout_documents must be given"));
  EXPECT_THAT(refusal("[run]\nname = \"a\"\n[model]\npath = \"m\"\n"), StartsWith("stage must be given in the file"));
  EXPECT_THAT(refusal(""), HasSubstr("must be given"));
}

TEST_F(ConfigTest, WrongTypeIsRefused) {
  for (const char* key : {"population_size = 3.0", "population_size = true", "population_size = [3]",
                          "mutation_probability = \"0.3\"", "generational = 1", "method = 3", "seeds = \"pi\"",
                          "seeds = [1]", "seed_files = [1]", "attention_policies = \"su\"", "n_hat = 0.5",
                          "n_hat = [0.5]", "upper_bound = true", "lag = 1979-05-27", "method = { a = 1 }"}) {
    EXPECT_THAT(search_refusal(key), AllOf(HasSubstr(" must be "), EndsWith(at(12)))) << key;
  }
  EXPECT_THAT(refusal("run = 3\n" + replaced(kMinimal, "[run]\nname = \"demo\"", "")),
              HasSubstr("[run] must be a table"));
  EXPECT_THAT(refusal(replaced(kMinimal, "[[stage]]", "[stage]")), HasSubstr("[[stage]]"));
  EXPECT_THAT(refusal("stage = []\n" + std::string(kMinimal).substr(0, std::string(kMinimal).find("[[stage]]"))),
              HasSubstr("[[stage]]"));
}

TEST_F(ConfigTest, ValueOutOfRangeIsRefused) {
  for (const char* key : {"mutation_probability = nan",
                          "mutation_probability = inf",
                          "mutation_probability = -0.1",
                          "crossover_probability = 2",
                          "block_move_probability = 1.01",
                          "block_move_sigma = 0",
                          "attention_value = 0",
                          "attention_value = -1",
                          "population_size = 0",
                          "num_mutations = -1",
                          "num_crossovers = -1",
                          "num_iterations = -1",
                          "max_crossover_tries = 0",
                          "lag = 0",
                          "batch = 0",
                          "step_size = 0",
                          "step_size = nan",
                          "step_size = 11",
                          "steps_per_unit = 0",
                          "steps_per_unit = 10001",
                          "upper_bound = 1",
                          "upper_bound = 1e6",
                          "upper_bound = 223372036854775807",  // no double has this value
                          "upper_bound = \"2s\"",
                          "n_hat = -1",
                          "n_hat = [0, -1]",
                          "n_hat = []",
                          "n_hat = [1, 1]",
                          "seeds = [\"linear\"]",
                          "seeds = [\"pi\", \"pi\"]",
                          "seeds = [\"\"]",
                          "attention_policies = []",
                          "attention_policies = [\"su\", \"su\"]",
                          "attention_policies = [\"mscale\"]",
                          "method = \"cmaes\"",
                          "population_size = 1000001"}) {
    EXPECT_THAT(search_refusal(key), AllOf(HasSubstr("must"), EndsWith(at(12)))) << key;
  }
  for (const char* length : {"0", "1", "-5", "134217729"}) {
    EXPECT_THAT(refusal(replaced(kMinimal, "4096", length)), AllOf(StartsWith("target_length"), EndsWith(at(8))));
  }
  for (const char* table :
       {"[stage.stop]\npatience = 0", "[stage.stop]\nmax_candidates = 0", "[stage.stop]\nmax_passes = 0",
        "[stage.stop]\nmin_relative_improvement = -0.1", "[stage.stop]\ntime_limit_minutes = 0",
        "[worker]\nthreads = 0", "[scheduling]\ncredit = 0", "[scheduling]\nmax_failures = 0",
        "[scheduling]\nheartbeat_interval_seconds = 0", "[scheduling]\nlease_timeout_seconds = inf"}) {
    EXPECT_THAT(refusal(kMinimal + std::string(table) + "\n"), AllOf(HasSubstr("must"), EndsWith(at(12)))) << table;
  }
}

TEST_F(ConfigTest, KeysThatContradictEachOtherAreRefused) {
  EXPECT_THAT(search_refusal("seeds = []"), HasSubstr("must not all be empty"));
  EXPECT_THAT(search_refusal("n_hat = 4096"), HasSubstr("n_hat must be below target_length: 4096"));
  EXPECT_THAT(search_refusal("num_mutations = 0\nnum_crossovers = 0"), HasSubstr("must not both be 0"));
  EXPECT_THAT(refusal(replaced(kMinimal, "/data/heldout.safetensors", "./search.safetensors")),
              HasSubstr("heldout_documents must not be the search_documents"));
  const auto with = [](const std::string& keys) { return replaced(kMinimal, "[[stage]]", "[[stage]]\n" + keys); };
  EXPECT_THAT(refusal(with("final_documents = \"./search.safetensors\"")),
              HasSubstr("final_documents must not be the search_documents"));
  EXPECT_THAT(refusal(with("final_documents = \"/data/heldout.safetensors\"")),
              HasSubstr("final_documents must not be the heldout_documents"));
  EXPECT_THAT(refusal(with("final_count = 3")), HasSubstr("final_count must come with final_documents: 3"));
  for (const char* key : {"worker_timeout_seconds", "lease_timeout_seconds"}) {
    EXPECT_THAT(refusal(kMinimal + std::string("[scheduling]\n") + key + " = 1\n"),
                AllOf(StartsWith(std::string(key) + " must exceed heartbeat_interval_seconds"), EndsWith(at(11))));
  }
}

TEST_F(ConfigTest, StopRulesAreThoseOfTheMethod) {
  const auto with = [](const std::string& method, const std::string& stop) {
    return std::string(kMinimal) + "[stage.search]\nmethod = \"" + method + "\"\n[stage.stop]\n" + stop + "\n";
  };
  for (const std::string method : {"longrope", "authors", "random"}) {
    EXPECT_EQ(refusal(with(method, "max_passes = 60")),
              "stage 4k: max_passes must come with method \"gradient\": 60 " + at(6));
    EXPECT_NO_THROW((void)load(with(method, "max_candidates = 60\npatience = 3"))) << method;
  }
  EXPECT_EQ(refusal(with("gradient", "max_candidates = 60")),
            "stage 4k: max_candidates must be max_passes with method \"gradient\": 60 " + at(6));
  EXPECT_THAT(
      refusal(with("gradient", "patience = 3")),
      AllOf(StartsWith("stage 4k: patience must not be given with method \"gradient\""), EndsWith(": 3 " + at(6))));
  const Config config = load(with("gradient", "max_passes = 60\ntime_limit_minutes = 5"));
  const SearchStage& stage = std::get<SearchStage>(config.stages.front().work);
  EXPECT_EQ(stage.search.method, SearchMethod::kGradient);
  EXPECT_EQ(stage.stop.max_passes, 60);
  EXPECT_EQ(std::get<SearchStage>(load(with("gradient", "")).stages.front().work).stop.max_passes, std::nullopt);
}

TEST_F(ConfigTest, StageNamesMustDiffer) {
  const std::string stage = std::string(kMinimal).substr(std::string(kMinimal).find("[[stage]]"));
  EXPECT_EQ(refusal(kMinimal + stage), "stage names must differ: 4k " + at(11));
  EXPECT_EQ(load(kMinimal + replaced(stage, "4k", "8k")).stages.size(), 2U);
}

TEST_F(ConfigTest, NamesThatCannotBePartsOfFileNamesAreRefused) {
  for (const char* name : {"\"\"", "\"a/b\"", "\"..\"", "\"a b\"", "\"a\\u001b\"", "\"ä\"", "3"}) {
    EXPECT_THAT(refusal(replaced(kMinimal, "\"demo\"", name)), AllOf(StartsWith("name must"), EndsWith(at(2)))) << name;
  }
  EXPECT_THAT(refusal(replaced(kMinimal, "demo", std::string(65, 'a'))), StartsWith("name must"));
}

TEST_F(ConfigTest, DeepNestingIsRefused) {
  const auto repeated = [](std::string_view part, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += part;
    return text;
  };
  EXPECT_THAT(refusal(repeated("a.", 500'000) + "a = 1\n"),
              AllOf(HasSubstr("more than 32 dots: 500000"), EndsWith(at(1))));
  EXPECT_THAT(refusal("\n[" + repeated("a.", 500'000) + "a]\n"), AllOf(HasSubstr("dots"), EndsWith(at(2))));
  EXPECT_THAT(refusal("a = " + repeated("[", 500'000)), AllOf(HasSubstr("depth"), EndsWith(at(1))));
  EXPECT_THAT(refusal("a = " + repeated("{a=", 300'000)), AllOf(HasSubstr("depth"), EndsWith(at(1))));
  // The deepest tree that both limits let through is built and destroyed.
  EXPECT_THAT(refusal("a = " + repeated("[\n{" + repeated("a.", 32) + "a = ", 120) + "1"), HasSubstr("valid TOML"));
}

TEST_F(ConfigTest, LongValueIsShortenedInItsMessage) {
  EXPECT_THAT(search_refusal("upper_bound = \"" + std::string(100'000, 'x') + "\""), HasSubstr(" … "));
  EXPECT_LT(search_refusal("upper_bound = \"" + std::string(100'000, 'x') + "\"").size(), 500U);
}

TEST_F(ConfigTest, FileThatIsNoTomlIsRefusedWithItsLine) {
  EXPECT_THAT(refusal("[run]\nname = \n"), AllOf(HasSubstr("valid TOML"), EndsWith(at(2))));
  EXPECT_THAT(refusal("[run]\nname = \"\xff\"\n"), AllOf(HasSubstr("valid TOML"), EndsWith(at(2))));
  EXPECT_THAT(refusal("a = " + std::string(100'000, '[')), HasSubstr("valid TOML"));
  EXPECT_THAT(refusal(std::string("[run]\nname = \"a\0b\"\n", 19)), HasSubstr("valid TOML"));
}

TEST_F(ConfigTest, OversizedOrMissingFileIsRefused) {
  const std::string one_mebibyte =
      kMinimal + std::string("#") + std::string((1U << 20) - std::string(kMinimal).size() - 1, ' ');
  EXPECT_EQ(load(one_mebibyte).name, "demo");
  EXPECT_THAT(refusal(one_mebibyte + " "), AllOf(HasSubstr("1048576"), HasSubstr(file_.string())));
  EXPECT_THROW(static_cast<void>(load_config(directory_ / "none.toml")), InputError);
  EXPECT_THROW(static_cast<void>(load_config(directory_)), InputError);
}

TEST_F(ConfigTest, BundledExamplesLoad) {
  const Config demo = load_config(LONGROPE_SOURCE_DIR "/configs/byte-llama-demo.toml");
  EXPECT_EQ(demo.model, std::filesystem::path(LONGROPE_SOURCE_DIR "/models/byte-llama"));
  ASSERT_EQ(demo.stages.size(), 1U);
  EXPECT_EQ(std::get<SearchStage>(demo.stages[0].work).search_documents,
            std::filesystem::path(LONGROPE_SOURCE_DIR "/build/demo/search.safetensors"));
  const Config llama = load_config(LONGROPE_SOURCE_DIR "/configs/llama2-7b-128k.toml");
  ASSERT_EQ(llama.stages.size(), 1U);
  const SearchConfig& search = std::get<SearchStage>(llama.stages[0].work).search;
  EXPECT_EQ(search.population_size + search.num_iterations * (search.num_mutations + search.num_crossovers), 1344);
}

TEST_F(ConfigTest, EnumNamesRoundTrip) {
  for (const ComputeDtype dtype : {ComputeDtype::kFp32, ComputeDtype::kBf16}) {
    EXPECT_EQ(parse_compute_dtype(to_string(dtype)), dtype);
  }
  EXPECT_THROW(static_cast<void>(parse_compute_dtype("fp16")), InputError);
  EXPECT_EQ(to_string(SearchMethod::kLongrope), "longrope");
  EXPECT_EQ(to_string(SearchMethod::kAuthors), "authors");
  EXPECT_EQ(to_string(SearchMethod::kRandom), "random");
  EXPECT_EQ(to_string(SearchMethod::kGradient), "gradient");
}

TEST_F(ConfigTest, TrajectorySettingsAreCanonicalJson) {
  const std::string settings = trajectory_settings(load(kMinimal));
  EXPECT_EQ(nlohmann::json::parse(settings).dump(), settings);
  EXPECT_EQ(settings, trajectory_settings(load("# other text, same settings\n" + replaced(kMinimal, "4096", "4_096"))));
}

TEST_F(ConfigTest, EverySearchKeyChangesTheTrajectorySettings) {
  std::ofstream(directory_ / "factors.csv") << "1\n";
  std::set<std::string> settings = {trajectory_settings(load(kMinimal))};
  const std::vector<std::string> keys = {"method = \"random\"",
                                         "population_size = 7",
                                         "num_mutations = 7",
                                         "num_crossovers = 7",
                                         "num_iterations = 7",
                                         "num_parents = 7",
                                         "mutation_probability = 0.7",
                                         "crossover_probability = 0.7",
                                         "max_crossover_tries = 7",
                                         "generational = false",
                                         "lag = 7",
                                         "steps_per_unit = 7",
                                         "upper_bound = \"1+s\"",
                                         "upper_bound = 7",
                                         "seeds = [\"yarn\", \"ntk\", \"pi\"]",
                                         "seed_files = [\"factors.csv\"]",
                                         "attention_policies = [\"yarn\"]",
                                         "attention_value = 7",
                                         "n_hat = 7",
                                         "block_move_probability = 0.7",
                                         "block_move_sigma = 0.7"};
  for (const std::string& key : keys) settings.insert(trajectory_settings(load_search(key)));
  EXPECT_EQ(settings.size(), keys.size() + 1);
}

TEST_F(ConfigTest, KeysOfGradientSearchesAreNoPartOfTheIdentityOfOthers) {
  // As a release without method "gradient" wrote it into databases, which go on.
  const nlohmann::json stage = nlohmann::json::parse(trajectory_settings(load(kMinimal))).at("stages").at(0);
  const nlohmann::json earlier = nlohmann::json::parse(R"(
    {"finalists": 8, "heldout_count": null, "name": "4k", "search_count": null, "target_length": 4096,
     "search": {"attention_policies": ["su"], "attention_value": 1.0, "block_move_probability": 0.0,
                "block_move_sigma": 0.1, "crossover_probability": 0.3, "generational": true, "lag": 16,
                "max_crossover_tries": 20, "method": "longrope", "mutation_probability": 0.3, "n_hat": [0],
                "num_crossovers": 16, "num_iterations": 40, "num_mutations": 16, "num_parents": 32,
                "population_size": 64, "seed_files": [], "seeds": ["pi", "ntk", "yarn"], "steps_per_unit": 100,
                "upper_bound": "1.25s"},
     "stop": {"max_candidates": null, "min_relative_improvement": 0.001, "patience": null}})");
  EXPECT_EQ(stage, earlier);
}

TEST_F(ConfigTest, EveryKeyOfAGradientSearchChangesItsTrajectorySettings) {
  const auto settings_of = [&](const std::string& keys) {
    return trajectory_settings(load_search("method = \"gradient\"\n" + keys));
  };
  std::set<std::string> settings = {trajectory_settings(load(kMinimal))};
  const std::vector<std::string> keys = {"", "batch = 7", "step_size = 0.7", "[stage.stop]\nmax_passes = 7",
                                         "seeds = [\"pi\"]"};
  for (const std::string& key : keys) settings.insert(settings_of(key));
  EXPECT_EQ(settings.size(), keys.size() + 1);
  EXPECT_EQ(settings_of("batch = 1\nstep_size = 0.1"), settings_of("")) << "the defaults";
}

TEST_F(ConfigTest, ReachedLengthThatIsNotGivenIsNoPartOfTheIdentity) {
  EXPECT_EQ(load(kMinimal).reached_length, std::nullopt);
  EXPECT_EQ(trajectory_settings(load(kMinimal)).find("reached_length"), std::string::npos)
      << "searches that were begun without the key go on";
  EXPECT_EQ(load(replaced(kMinimal, "[model]", "[model]\nreached_length = 512")).reached_length, 512);
  EXPECT_THROW((void)load(replaced(kMinimal, "[model]", "[model]\nreached_length = 1")), InputError);
}

TEST_F(ConfigTest, SeedFilesCountByContent) {
  const auto with_file = [&](const std::string& name, const std::string& content) {
    std::ofstream(directory_ / name) << content;
    return trajectory_settings(load_search("seed_files = [\"" + name + "\"]"));
  };
  const std::string settings = with_file("a.csv", "1\n");
  EXPECT_EQ(with_file("b.csv", "1\n"), settings);
  EXPECT_NE(with_file("a.csv", "2\n"), settings);
}

TEST_F(ConfigTest, OtherKeysOfTheTrajectoryChangeItsSettings) {
  std::set<std::string> settings = {trajectory_settings(load(kMinimal))};
  const std::vector<std::pair<std::string, std::string>> replacements = {
      {"name = \"demo\"", "name = \"demo\"\nseed = 1"},
      {"[model]", "[model]\ndtype = \"bf16\""},
      {"[model]", "[model]\nangles = \"hf_fp32\""},
      {"[model]", "[model]\nreached_length = 512"},
      {"[model]", "[worker]\nthreads = 2\n[model]"},
      {"4k", "5k"},
      {"4096", "5120"},
      {"[[stage]]", "[[stage]]\nsearch_count = 1"},
      {"[[stage]]", "[[stage]]\nheldout_count = 1"},
      {"[[stage]]", "[[stage]]\nfinalists = 1"},
      {"[[stage]]", "[[stage]]\nfinal_documents = \"final\"\nfinal_count = 1"},
      {"[[stage]]", "[[stage]]\nstop.max_candidates = 1"},
      {"[[stage]]", "[[stage]]\nstop.patience = 1"},
      {"[[stage]]", "[[stage]]\nstop.min_relative_improvement = 0.5"},
  };
  for (const auto& [from, to] : replacements) settings.insert(trajectory_settings(load(replaced(kMinimal, from, to))));
  EXPECT_EQ(settings.size(), replacements.size() + 1);
}

TEST_F(ConfigTest, SchedulingTimeLimitNameAndPathsLeaveTheTrajectorySettingsAlone) {
  const std::string settings = trajectory_settings(load(kMinimal));
  EXPECT_EQ(
      trajectory_settings(load(std::string(kMinimal) + "[stage.stop]\ntime_limit_minutes = 1\n[scheduling]\n"
                                                       "heartbeat_interval_seconds = 2\nworker_timeout_seconds = 20\n"
                                                       "lease_timeout_seconds = 30\ncredit = 1\nmax_failures = 1\n")),
      settings);
  EXPECT_EQ(trajectory_settings(load(std::string("[worker]\ndevices = [\"cpu\", \"cpu\"]\n") + kMinimal)), settings);
  EXPECT_EQ(trajectory_settings(load(replaced(kMinimal, "demo", "other"))), settings);
  EXPECT_EQ(trajectory_settings(load(replaced(kMinimal, "models/tiny", "elsewhere/tiny"))), settings);
  EXPECT_EQ(trajectory_settings(load(replaced(kMinimal, "search.safetensors", "moved.safetensors"))), settings);
  // The database knows them by their digests; what was searched before there were any has the same settings.
  EXPECT_EQ(trajectory_settings(load(replaced(kMinimal, "[[stage]]", "[[stage]]\nfinal_documents = \"final\""))),
            settings);
  EXPECT_THAT(settings, Not(HasSubstr("final_")));
}

TEST_F(ConfigTest, DevicesAreAutomaticOrNamed) {
  EXPECT_THAT(load(kMinimal).devices, IsEmpty());
  const auto devices = [&](const std::string& value) {
    return load(std::string("[worker]\ndevices = ") + value + "\n" + kMinimal).devices;
  };
  EXPECT_THAT(devices("\"auto\""), IsEmpty());
  EXPECT_THAT(devices(R"(["cpu", "cpu"])"), ElementsAre("cpu", "cpu"));
  EXPECT_THAT(devices(R"(["cuda:1", "cuda"])"), ElementsAre("cuda:1", "cuda:0"));
}

TEST_F(ConfigTest, DevicesThatAreNoneOrOfTwoKindsAreRefusedWithTheirPlace) {
  const auto refused = [&](const std::string& value) {
    return refusal(std::string("[worker]\ndevices = ") + value + "\n" + kMinimal);
  };
  EXPECT_THAT(refused(R"(["cpu", "cuda:0"])"),
              AllOf(StartsWith("devices must be of one kind"), EndsWith("cpu, cuda:0 " + at(2))));
  EXPECT_THAT(refused(R"(["gpu"])"), HasSubstr("a device must be cpu, cuda or cuda:N, or auto alone: gpu ("));
  EXPECT_THAT(refused("[]"), HasSubstr("devices must name one at least, or be auto: none ("));
  EXPECT_THAT(refused("\"cuda:0\""), HasSubstr("devices must be \"auto\" or an array of devices: "));
  EXPECT_THAT(refused("2"), HasSubstr("devices must be an array: 2 ("));
}

TEST_F(ConfigTest, DevicesAreNoPartOfASearch) {
  const Config here = load(kMinimal);
  const Config elsewhere = load(std::string("[worker]\ndevices = [\"cuda:0\"]\n") + kMinimal);
  EXPECT_EQ(trajectory_settings(here), trajectory_settings(elsewhere));
}

}  // namespace
}  // namespace longrope
