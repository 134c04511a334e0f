#include "pipeline/checkpoints.h"

#include "common/sha256.h"
#include "tests/pipeline/pipeline_fixture.h"

#include <gtest/gtest.h>

#include <chrono>

namespace longrope {
namespace {

class CheckpointsTest : public PipelineFixture {
 protected:
  Checkpoints checkpoints_;
};

TEST_F(CheckpointsTest, DigestsAreThoseOfTheFiles) {
  EXPECT_EQ(checkpoints_.file_digest(search_), sha256_of_file(search_));
  EXPECT_EQ(checkpoints_.digest(model_), model_digest(model_));
  EXPECT_EQ(checkpoints_.input_digest(model_), model_digest(model_));
  EXPECT_EQ(checkpoints_.input_digest(search_), sha256_of_file(search_));
}

TEST_F(CheckpointsTest, FileIsReadOnceWhateverItsName) {
  const std::filesystem::path link = directory_ / "link.safetensors";
  std::filesystem::create_hard_link(search_, link);
  EXPECT_EQ(&checkpoints_.file_digest(search_), &checkpoints_.file_digest(link));
}

TEST_F(CheckpointsTest, ReachedLengthIsThatOfTheUntouchedModelAlone) {
  const std::filesystem::path trained = directory_ / "trained";
  std::filesystem::copy(model_, trained);
  for (const std::filesystem::path& model : {model_, trained}) {
    nlohmann::json config = nlohmann::json::parse(std::ifstream(model / "config.json"));
    config.erase("rope_parameters");
    config["max_position_embeddings"] = 512;
    config["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
    std::ofstream(model / "config.json") << config;
  }
  Checkpoints checkpoints(model_, 512);
  EXPECT_EQ(checkpoints.description(model_).scaling.reached_length, 512);
  EXPECT_EQ(checkpoints.identified(model_).description.scaling.reached_length, 512);
  EXPECT_EQ(checkpoints.description(trained).scaling.reached_length, 2048);
  EXPECT_EQ(checkpoints.reached_length(trained), std::nullopt);
}

TEST_F(CheckpointsTest, FileThatChangedIsReadAgain) {
  const std::string before = checkpoints_.digest(model_);
  write_weights(model_, 9.0F);  // another file under the same name
  EXPECT_NE(checkpoints_.digest(model_), before);
  const std::string written = checkpoints_.file_digest(model_ / "config.json");
  const auto time = std::filesystem::last_write_time(model_ / "config.json");
  std::ofstream(model_ / "config.json", std::ios::app) << " ";
  std::filesystem::last_write_time(model_ / "config.json", time);
  EXPECT_NE(checkpoints_.file_digest(model_ / "config.json"), written) << "its size tells";
}

TEST_F(CheckpointsTest, DescriptionFollowsConfigJson) {
  EXPECT_EQ(checkpoints_.description(model_).layers, 1);
  std::string text;
  {
    std::ifstream stream(model_ / "config.json");
    std::getline(stream, text);
  }
  text.replace(text.find("\"num_hidden_layers\": 1"), 22, "\"num_hidden_layers\": 22");
  std::ofstream(model_ / "config.json") << text;
  EXPECT_EQ(checkpoints_.description(model_).layers, 22);
}

TEST_F(CheckpointsTest, OutputDigestCoversNamesAndContents) {
  const std::string before = checkpoints_.output_digest(model_);
  std::filesystem::rename(model_ / "config.json", model_ / "other.json");
  EXPECT_NE(checkpoints_.output_digest(model_), before);
  std::filesystem::rename(model_ / "other.json", model_ / "config.json");
  EXPECT_EQ(checkpoints_.output_digest(model_), before);
}

}  // namespace
}  // namespace longrope
