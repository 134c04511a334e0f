#include "common/formats/factors_file.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Json = nlohmann::json;

struct NamedArray {
  std::string name;
  std::vector<double> lambda;
};

/// The authors' 30 arrays and every short and long array of the public models.
std::vector<NamedArray> all_published_arrays() {
  std::vector<NamedArray> arrays;
  const Json authors = load_published_factors("longrope_paper_llama2_mistral.json")["arrays"];
  for (const auto& [name, array] : authors.items()) {
    arrays.push_back({name, array["factors"].get<std::vector<double>>()});
  }
  const Json models = load_published_factors("published_factors.json");
  for (const auto& [name, model] : models.items()) {
    arrays.push_back({name + " long", model["long_factor"].get<std::vector<double>>()});
    arrays.push_back({name + " short", model["short_factor"].get<std::vector<double>>()});
  }
  return arrays;
}

FactorsFile example_file() {
  FactorsFile file;
  file.model = FactorsFile::Model{.id = "tiny \"model\" λ",
                                  .sha256 = std::string(64, 'a'),
                                  .head_dim = 8,
                                  .geometry = {.rotary_dim = 6, .rope_theta = 5e5, .original_length = 4096}};
  const FactorGrid grid{.steps_per_unit = 128, .upper_bound = 9.0};
  file.entries.push_back({.id = "ft",
                          .target_length = 8192,
                          .factors = exact_factors({1.0, 1.0 / 3.0 + 1.0, 2.1}, 0, {AttentionPolicy::kValue, 1.1}),
                          .composed_from = {},
                          .fitness = std::nullopt});
  file.entries.push_back(
      {.id = "best",
       .target_length = 32768,
       .factors = factors_on_grid(grid, {0, 77, 1024}, 16, {AttentionPolicy::kSu, 1.118033988749895}),
       .composed_from = {"ft", "secondary"},
       .fitness = FactorsFile::Fitness{
           .name = "perplexity", .value = 2.5600000000000005, .dataset_digest = "abc", .samples = 5, .dtype = "bf16"}});
  return file;
}

/// Writes the example after `change` to its JSON and returns the reader's refusal.
template <typename Change>
std::string refusal_after(const Change& change) {
  const TemporaryDirectory directory;
  write_factors_json(example_file(), directory / "factors.json");
  Json json = Json::parse(content_of(directory / "factors.json"));
  change(json);
  directory.write("factors.json", json.dump());
  return refusal([&] { (void)read_factors_json(directory / "factors.json"); });
}

TEST(FactorsFileTest, EveryPublishedArraySurvivesCsvAndJsonBitExactly) {
  const TemporaryDirectory directory;
  const std::vector<NamedArray> arrays = all_published_arrays();
  ASSERT_EQ(arrays.size(), 30U + 16U);
  for (const NamedArray& array : arrays) {
    FactorsFile file;
    file.entries.push_back({.id = array.name,
                            .target_length = 131072,
                            .factors = exact_factors(array.lambda, 0, {AttentionPolicy::kSu, 1.19}),
                            .composed_from = {},
                            .fitness = std::nullopt});
    write_factors_json(file, directory / "factors.json");
    write_factors_csv(file.entries[0].factors, directory / "factors.csv");
    EXPECT_EQ(read_factors_json(directory / "factors.json").entries.at(0).factors, file.entries[0].factors)
        << array.name;
    EXPECT_EQ(read_factors(directory / "factors.json"), file.entries[0].factors) << array.name;
    EXPECT_EQ(read_factors(directory / "factors.csv").lambda, array.lambda) << array.name;
    EXPECT_EQ(read_factors(directory / "factors.csv").lambda, array.lambda) << array.name;
    write_factors_csv(file.entries[0].factors, directory / "rows.csv", 32);
    EXPECT_EQ(read_factors(directory / "rows.csv").lambda, array.lambda) << array.name;
  }
}

TEST(FactorsFileTest, OnlyKnownOdditiesOfPublishedArraysAreUnusual) {
  // Hazard 11 of the format notes: Mistral's long arrays fall, MiniCPM4 and 4.1 start below 1.
  const std::set<std::string> falling = {"1024k_mis_128k", "1024k_mis_256k", "2048k_mis_128k",
                                         "2048k_mis_256k", "256k_mis_128k",  "512k_mis_128k",
                                         "512k_mis_256k",  "ft_mis_128k",    "ft_mis_256k"};
  const Json authors = load_published_factors("longrope_paper_llama2_mistral.json")["arrays"];
  for (const NamedArray& array : all_published_arrays()) {
    const auto sentences = unusual_properties(exact_factors(array.lambda, 0, {}), 0.0);
    if (falling.contains(array.name)) {
      ASSERT_EQ(sentences.size(), 1U) << array.name;
      // The fixture names the pair before the fall, we the pair that fell.
      const Json& violations = authors[array.name]["violations"];
      EXPECT_EQ(std::count(sentences[0].begin(), sentences[0].end(), ','), std::ssize(violations) - 1) << array.name;
      for (const Json& violation : violations) {
        EXPECT_THAT(sentences[0], HasSubstr("pair " + std::to_string(violation.get<int>() + 1) + " is"));
      }
    } else if (array.name.starts_with("MiniCPM4")) {
      EXPECT_THAT(sentences, ElementsAre(HasSubstr("at least 1: pair 0 is 0.99"))) << array.name;
    } else {
      EXPECT_THAT(sentences, IsEmpty()) << array.name;
    }
  }
}

TEST(FactorsFileTest, PhiFactorsAboveTheSearchBoundAreReadAndUnusual) {
  const auto lambda = load_published_factors("published_factors.json")["Phi-3.5-mini-instruct"]["long_factor"]
                          .get<std::vector<double>>();
  EXPECT_THAT(unusual_properties(exact_factors(lambda, 0, {}), 1.25 * 32), ElementsAre(HasSubstr("at most 40")));
}

TEST(FactorsFileTest, PublishedModelsAreReadFromTheirConfig) {
  const TemporaryDirectory directory;
  const Json models = load_published_factors("published_factors.json");
  for (const auto& [name, model] : models.items()) {
    const Json config = {{"max_position_embeddings", model["max_position_embeddings"]},
                         {"original_max_position_embeddings", model["original_max_position_embeddings"]},
                         {"rope_theta", model["base"]},
                         {"head_dim", model.value("head_dim", model["rotary_dim"].get<int>())},
                         {"partial_rotary_factor", model.value("partial_rotary_factor", 1.0)},
                         {"rope_scaling",
                          {{"type", name.find("\"su\"") != std::string::npos ? "su" : "longrope"},
                           {"short_factor", model["short_factor"]},
                           {"long_factor", model["long_factor"]}}}};
    const RescaleFactors factors = read_factors(directory.write("config.json", config.dump(2)));
    EXPECT_EQ(factors.lambda, model["long_factor"].get<std::vector<double>>()) << name;
    EXPECT_NEAR(factors.attention.value, model["attention_factor_su"].get<double>(), 1e-15) << name;
  }
}

TEST(FactorsFileTest, ConfigGivesTheTableForTheLength) {
  const TemporaryDirectory directory;
  const auto path = directory.write("config.json", R"({"original_max_position_embeddings": 512, "rope_parameters": {
      "rope_type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [1.0, 4.0], "attention_factor": 1.25}})");
  EXPECT_EQ(read_factors(path, 512).lambda, (std::vector<double>{1.0, 1.5}));
  EXPECT_EQ(read_factors(path, 513).lambda, (std::vector<double>{1.0, 4.0}));
  EXPECT_EQ(read_factors(path).lambda, (std::vector<double>{1.0, 4.0}));
}

TEST(FactorsFileTest, EveryFieldSurvivesTheRoundTrip) {
  const TemporaryDirectory directory;
  const FactorsFile written = example_file();
  write_factors_json(written, directory / "factors.json");
  const FactorsFile file = read_factors_json(directory / "factors.json");
  ASSERT_TRUE(file.model);
  EXPECT_EQ(file.model->id, written.model->id);
  EXPECT_EQ(file.model->sha256, written.model->sha256);
  EXPECT_EQ(file.model->head_dim, 8);
  EXPECT_EQ(file.model->geometry.rotary_dim, 6);
  EXPECT_EQ(file.model->geometry.rope_theta, 5e5);
  EXPECT_EQ(file.model->geometry.original_length, 4096);
  ASSERT_EQ(file.entries.size(), 2U);
  for (std::size_t index = 0; index < 2; ++index) {
    EXPECT_EQ(file.entries[index].id, written.entries[index].id);
    EXPECT_EQ(file.entries[index].target_length, written.entries[index].target_length);
    EXPECT_EQ(file.entries[index].factors, written.entries[index].factors);
    EXPECT_EQ(file.entries[index].composed_from, written.entries[index].composed_from);
  }
  EXPECT_FALSE(file.entries[0].fitness);
  ASSERT_TRUE(file.entries[1].fitness);
  EXPECT_EQ(file.entries[1].fitness->name, "perplexity");
  EXPECT_EQ(file.entries[1].fitness->value, 2.5600000000000005);
  EXPECT_EQ(file.entries[1].fitness->dataset_digest, "abc");
  EXPECT_EQ(file.entries[1].fitness->samples, 5);
  EXPECT_EQ(file.entries[1].fitness->dtype, "bf16");
}

TEST(FactorsFileTest, WrittenFileHasTheDocumentedKeys) {
  const TemporaryDirectory directory;
  write_factors_json(example_file(), directory / "factors.json");
  const Json json = Json::parse(content_of(directory / "factors.json"));
  EXPECT_EQ(json["schema"], "longrope-factors/1");
  EXPECT_EQ(json["model"]["layout"], "half_split");
  EXPECT_EQ(json["model"]["L0"], 4096);
  EXPECT_EQ(json["factors"][0]["lambda_grid"], nullptr);
  EXPECT_EQ(json["factors"][0]["steps_per_unit"], nullptr);
  EXPECT_EQ(json["factors"][1]["lambda_grid"], Json({0, 77, 1024}));
  EXPECT_EQ(json["factors"][1]["steps_per_unit"], 128);
  EXPECT_EQ(json["factors"][1]["n_hat"], 16);
  EXPECT_EQ(json["factors"][1]["mscale"]["policy"], "su");
}

TEST(FactorsFileTest, SearchOfOtherToolsIsAccepted) {
  const TemporaryDirectory directory;
  write_factors_json(example_file(), directory / "factors.json");
  Json json = Json::parse(content_of(directory / "factors.json"));
  json["factors"][0]["search"] = {{"seed", 42}};
  EXPECT_EQ(read_factors_json(directory.write("factors.json", json.dump())).entries.size(), 2U);
}

TEST(FactorsFileTest, ScheduleSurvivesTheRoundTripAndChoosesTheTable) {
  const TemporaryDirectory directory;
  FactorsFile written = example_file();
  written.schedule = {{.max_length = 4096, .factors_id = "ft"}, {.max_length = 32768, .factors_id = "best"}};
  write_factors_json(written, directory / "factors.json");
  const Json json = Json::parse(content_of(directory / "factors.json"));
  EXPECT_EQ(json["schedule"], Json::parse(R"([{"max_len": 4096, "factors_id": "ft"},
                                               {"max_len": 32768, "factors_id": "best"}])"));
  const FactorsFile file = read_factors_json(directory / "factors.json");
  ASSERT_EQ(file.schedule.size(), 2U);
  EXPECT_EQ(file.schedule[1].max_length, 32768);
  EXPECT_EQ(file.schedule[1].factors_id, "best");
  EXPECT_EQ(read_factors(directory / "factors.json", 4096), file.entries[0].factors);
  EXPECT_EQ(read_factors(directory / "factors.json", 4097), file.entries[1].factors);
}

TEST(FactorsFileTest, FileWithoutScheduleOrWithAnEmptyOneHasNone) {
  const TemporaryDirectory directory;
  write_factors_json(example_file(), directory / "factors.json");
  Json json = Json::parse(content_of(directory / "factors.json"));
  EXPECT_FALSE(json.contains("schedule"));
  for (const Json& none : {Json(), Json::array()}) {
    json["schedule"] = none;
    EXPECT_TRUE(read_factors_json(directory.write("factors.json", json.dump())).schedule.empty());
  }
}

TEST(FactorsFileTest, BrokenScheduleIsRefusedByKey) {
  const auto refused = [](const char* schedule) {
    return refusal_after([&](Json& json) { json["schedule"] = Json::parse(schedule); });
  };
  EXPECT_THAT(refused(R"({"max_len": 8})"), HasSubstr("schedule must be an array"));
  EXPECT_THAT(refused(R"([{"max_len": 8}])"), HasSubstr("schedule[0].factors_id must be given"));
  EXPECT_THAT(refused(R"([{"max_len": 0, "factors_id": "ft"}])"), HasSubstr("schedule[0].max_len must be"));
  EXPECT_THAT(refused(R"([{"max_len": 8.5, "factors_id": "ft"}])"),
              HasSubstr("schedule[0].max_len must be an integer"));
  EXPECT_THAT(refused(R"([{"max_len": 8, "factors_id": "ft", "min_len": 1}])"), HasSubstr("schedule[0].min_len"));
  EXPECT_THAT(refused(R"([{"max_len": 8, "factors_id": "other"}])"), HasSubstr("\"other\" for up to 8 tokens"));
}

TEST(FactorsFileTest, EntryIsChosenByTargetLength) {
  const TemporaryDirectory directory;
  const FactorsFile file = example_file();
  write_factors_json(file, directory / "two.json");
  EXPECT_EQ(read_factors(directory / "two.json", 32768), file.entries[1].factors);
  EXPECT_THAT(refusal([&] { (void)read_factors(directory / "two.json"); }), HasSubstr("one entry"));
  EXPECT_THAT(refusal([&] { (void)read_factors(directory / "two.json", 4096); }), HasSubstr("target length 4096: 0"));
  FactorsFile twice = file;
  twice.entries[0].target_length = 32768;
  write_factors_json(twice, directory / "twice.json");
  EXPECT_THAT(refusal([&] { (void)read_factors(directory / "twice.json", 32768); }), HasSubstr("32768: 2"));
  FactorsFile one = file;
  one.entries.pop_back();
  write_factors_json(one, directory / "one.json");
  EXPECT_EQ(read_factors(directory / "one.json", 4096), one.entries[0].factors);
}

TEST(FactorsFileTest, BrokenValuesAreRefusedByKey) {
  EXPECT_THAT(refusal_after([](Json& json) { json["schema"] = "longrope-factors/2"; }),
              HasSubstr("schema must be longrope-factors/1: \"longrope-factors/2\""));
  EXPECT_THAT(refusal_after([](Json& json) { json.erase("schema"); }), HasSubstr("schema must be given"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"] = Json::array(); }), HasSubstr("must not be empty"));
  EXPECT_THAT(refusal_after([](Json& json) { json["extra"] = 1; }), HasSubstr("\"extra\""));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][1]["nhat"] = 1; }), HasSubstr("factors[1].nhat"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][1]["id"] = "ft"; }),
              HasSubstr("id must be unique: \"ft\""));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["id"] = ""; }), HasSubstr("id must not be empty"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["target_len"] = 0; }), HasSubstr("target_len must be"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["n_hat"] = -1; }), HasSubstr("n_hat must be"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0].erase("mscale"); }), HasSubstr("mscale must be given"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["mscale"]["policy"] = "max"; }), HasSubstr("max"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["mscale"]["value"] = 0; }), HasSubstr("positive: 0"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][1]["fitness"]["value"] = "good"; }),
              HasSubstr("factors[1].fitness.value must be a number"));
  EXPECT_THAT(refusal_after([](Json& json) { json["model"]["rotary_dim"] = 10; }), HasSubstr("between 4 and 8: 10"));
  EXPECT_THAT(refusal_after([](Json& json) { json["model"]["rotary_dim"] = 5; }), HasSubstr("must be even"));
  EXPECT_THAT(refusal_after([](Json& json) { json["model"]["rope_theta"] = 1; }), HasSubstr("must be above 1"));
  EXPECT_THAT(refusal_after([](Json& json) { json["model"]["L0"] = 4096.5; }),
              HasSubstr("model.L0 must be an integer"));
  EXPECT_THAT(refusal_after([](Json& json) { json["model"]["sha256"] = "abc"; }), HasSubstr("hexadecimal"));
  EXPECT_THAT(refusal_after([](Json& json) { json["model"]["layout"] = "interleaved"; }), HasSubstr("half_split"));
}

TEST(FactorsFileTest, BrokenLambdaIsRefused) {
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["lambda"].push_back(9.0); }),
              HasSubstr("lambda must number 3: 4 (factors \"ft\" of"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["lambda"][1] = -2.0; }), HasSubstr("pair 1 is -2"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["lambda"][1] = nullptr; }),
              HasSubstr("factors[0].lambda[1] must be a number: null"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][1]["lambda"][1] = 1.6; }), HasSubstr("its grid step's"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][1].erase("steps_per_unit"); }),
              HasSubstr("steps_per_unit must be positive"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][1]["lambda_grid"][1] = 2.5; }),
              HasSubstr("lambda_grid[1] must be an integer"));
  EXPECT_THAT(refusal_after([](Json& json) { json["factors"][0]["steps_per_unit"] = 100; }), HasSubstr("grid steps"));
}

TEST(FactorsFileTest, BrokenTextIsRefusedNamingTheFile) {
  const TemporaryDirectory directory;
  const std::string good = R"({"schema": "longrope-factors/1", "factors": [{"id": "a", "target_len": 8,
    "lambda": [1.0, 2.0], "n_hat": 0, "mscale": {"policy": "none", "value": 1.0}}]})";
  EXPECT_EQ(read_factors(directory.write("f.json", good)).lambda.size(), 2U);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  for (const std::string& text :
       {std::string(), good + "x", good.substr(0, good.size() / 2), with("2.0]", "NaN]"), with("2.0]", "Infinity]"),
        with("2.0]", "1e999]"), with("\"n_hat\": 0", "\"n_hat\": 0, \"n_hat\": 1"),
        with("2.0]", std::string(100'000, '[')), with("2.0]", "2.0}"), std::string("{}"),
        std::string("{\"schema\": null}"), std::string("[1, 2]"), std::string("{\"rope_scaling\": 3}")}) {
    const auto path = directory.write("f.json", text);
    EXPECT_THAT(refusal([&] { (void)read_factors(path); }), HasSubstr("f.json")) << text.substr(0, 200);
  }
}

TEST(FactorsFileTest, OversizedAndMissingFilesAreRefused) {
  const TemporaryDirectory directory;
  const auto path = directory.write("big.csv", std::string((16U << 20U) + 1, '1'));
  EXPECT_THAT(refusal([&] { (void)read_factors(path); }), HasSubstr("must not be larger than 16777216 bytes"));
  EXPECT_THAT(refusal([&] { (void)read_factors_json(path); }), HasSubstr("must not be larger"));
  EXPECT_THAT(refusal([&] { (void)read_factors(directory / "none.csv"); }), HasSubstr("none.csv"));
}

TEST(FactorsFileTest, NothingIsWrittenThatCouldNotBeRead) {
  const TemporaryDirectory directory;
  directory.write("factors.json", "old");
  const auto refused = [&](const auto& change) {
    FactorsFile file = example_file();
    change(file);
    EXPECT_THROW(write_factors_json(file, directory / "factors.json"), InputError);
    EXPECT_EQ(content_of(directory / "factors.json"), "old");
  };
  refused([](FactorsFile& file) { file.entries.clear(); });
  refused([](FactorsFile& file) { file.entries[0].factors.lambda[1] = std::nan(""); });
  refused([](FactorsFile& file) { file.entries[0].factors.lambda.pop_back(); });
  refused([](FactorsFile& file) { file.entries[0].target_length = 0; });
  refused([](FactorsFile& file) { file.entries[1].fitness->value = std::nan(""); });
  refused([](FactorsFile& file) { file.model->geometry.rope_theta = std::nan(""); });
  refused([](FactorsFile& file) { file.model->id = "\xff"; });
  refused([](FactorsFile& file) { file.schedule = {{.max_length = 8, .factors_id = "other"}}; });
}

TEST(FactorsFileTest, CsvRefusesWhatItCannotExpress) {
  const TemporaryDirectory directory;
  EXPECT_THAT(refusal([&] { write_factors_csv(exact_factors({1.0}, 4, {}), directory / "a.csv"); }),
              HasSubstr("n_hat must be 0"));
  EXPECT_THROW(write_factors_csv(exact_factors({}, 0, {}), directory / "a.csv"), InputError);
  EXPECT_THROW(write_factors_csv(exact_factors({1.0}, 0, {}), directory / "a.csv", 32), InputError);
  EXPECT_FALSE(std::filesystem::exists(directory / "a.csv"));
}

}  // namespace
}  // namespace longrope
