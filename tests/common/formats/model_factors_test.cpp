#include "common/formats/model_factors.h"

#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace longrope {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t kTarget = 4096;

/// The bundled model: 32 pairs, trained at 512 tokens.
ModelDescription bundled_model() { return describe_model(LONGROPE_SOURCE_DIR "/models/byte-llama"); }

std::string overrides(double short_factor, double long_factor) {
  const auto list = [](double factor) { return nlohmann::json(std::vector<double>(32, factor)).dump(); };
  return R"({"rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 8.0,
             "original_max_position_embeddings": 512, "short_factor": )" +
         list(short_factor) + R"(, "long_factor": )" + list(long_factor) + "}, \"max_position_embeddings\": 4096}";
}

FactorsFile one_table(const std::string& id, std::int64_t length) {
  FactorsFile file;
  FactorsFile::Entry& entry = file.entries.emplace_back();
  entry.id = id;
  entry.target_length = length;
  return file;
}

TEST(ModelFactorsTest, ImportedClosedFormIsOneTable) {
  const ModelFactors imported = import_factors("pi", "", bundled_model(), kTarget);
  ASSERT_EQ(imported.file.entries.size(), 1U);
  EXPECT_EQ(imported.file.entries[0].id, "pi");
  EXPECT_EQ(imported.file.entries[0].target_length, kTarget);
  EXPECT_THAT(imported.file.entries[0].factors.lambda, Each(8.0));
  EXPECT_THAT(imported.file.schedule, IsEmpty());
  EXPECT_EQ(imported.file.model->sha256, model_digest(bundled_model().directory));
  EXPECT_THAT(imported.warnings, IsEmpty());
}

TEST(ModelFactorsTest, TwoTablesAreImportedAsASchedule) {
  const TemporaryDirectory directory;
  const std::string file = directory.write("both.json", overrides(1.5, 8.0));
  const ModelFactors imported = import_factors(file, "", bundled_model(), kTarget);
  ASSERT_EQ(imported.file.entries.size(), 2U);
  EXPECT_EQ(imported.file.entries[0].id, "both-short");
  EXPECT_EQ(imported.file.entries[0].target_length, 512);
  EXPECT_THAT(imported.file.entries[0].factors.lambda, Each(1.5));
  EXPECT_EQ(imported.file.entries[1].id, "both");
  ASSERT_EQ(imported.file.schedule.size(), 2U);
  EXPECT_EQ(imported.file.schedule[0].max_length, 512);
  EXPECT_EQ(imported.file.schedule[1].max_length, kTarget);
  EXPECT_THAT(
      import_factors(directory.write("same.json", overrides(8.0, 8.0)), "", bundled_model(), kTarget).file.schedule,
      IsEmpty())
      << "equal tables are one";
}

TEST(ModelFactorsTest, UnusualFactorsAreImportedWithAWarning) {
  const TemporaryDirectory directory;
  std::string csv;
  for (int pair = 0; pair < 32; ++pair) csv += "0.5\n";
  const std::string file = directory.write("low.csv", csv);
  const ModelFactors imported = import_factors(file, "", bundled_model(), kTarget);
  EXPECT_THAT(imported.warnings, ElementsAre(HasSubstr("low.csv)")));
}

TEST(ModelFactorsTest, FilesOfOtherAnglesAreRefusedAndOfOtherWeightsWarnedOf) {
  const TemporaryDirectory directory;
  const ModelDescription model = bundled_model();
  FactorsFile file = import_factors("pi", "", model, kTarget).file;
  const std::filesystem::path path = directory / "factors.json";
  write_factors_json(file, path);
  EXPECT_THAT(read_factors_for(path, model).warnings, IsEmpty());
  file.model->sha256 = std::string(64, 'a');
  write_factors_json(file, path);
  EXPECT_THAT(read_factors_for(path, model).warnings,
              ElementsAre(AllOf(HasSubstr("another checkpoint, byte-llama (digest aaaaaaaaaaaa)"),
                                HasSubstr("factors.json)"))));
  file.model->geometry.rope_theta = 5e5;
  write_factors_json(file, path);
  EXPECT_THAT(refusal([&] { (void)read_factors_for(path, model); }),
              AllOf(HasSubstr("rope_theta 10000"), HasSubstr("500000"), HasSubstr("factors.json)")));
}

TEST(ModelFactorsTest, ShortTableComesBeforeTheOther) {
  FactorsFile file = one_table("long", kTarget);
  add_short_table(file, one_table("recovered", 512), "recovered.json");
  ASSERT_EQ(file.entries.size(), 2U);
  EXPECT_EQ(file.entries[0].id, "recovered");
  ASSERT_EQ(file.schedule.size(), 2U);
  EXPECT_EQ(file.schedule[0].factors_id, "recovered");
  EXPECT_EQ(file.schedule[0].max_length, 512);
  EXPECT_EQ(file.schedule[1].max_length, kTarget);
}

TEST(ModelFactorsTest, ShortTableThatIsNotOneOrReachesAsFarIsRefused) {
  FactorsFile file = one_table("long", kTarget);
  FactorsFile two = one_table("a", 256);
  two.entries.push_back(two.entries[0]);
  EXPECT_THAT(refusal([&] { add_short_table(file, two, "two.json"); }),
              HasSubstr("joined to one other table: 2 and 1 (two.json)"));
  EXPECT_THAT(refusal([&] { add_short_table(file, one_table("same", kTarget), "same.json"); }),
              AllOf(HasSubstr("must ascend: 4096 after 4096"), HasSubstr("same.json")));
}

}  // namespace
}  // namespace longrope
