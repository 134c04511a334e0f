#include "pipeline/pipeline_places.h"

#include "common/error.h"
#include "tests/pipeline/pipeline_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

namespace longrope {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

using PipelinePlacesTest = PipelineFixture;

TEST_F(PipelinePlacesTest, FactorsOfAPipelineAreThoseOfItsLongestSearch) {
  (void)run();
  // The fixture's searches write a file "search.db"; the last of them is a recovery of short texts.
  EXPECT_EQ(longest_search_of(database_, std::nullopt), folder("256") / "search.db");
  EXPECT_EQ(search_database_of(database_, std::nullopt), folder("short") / "search.db");
  EXPECT_EQ(longest_search_of(database_, "128"), folder("128") / "search.db");
}

TEST_F(PipelinePlacesTest, LongestOfTheSearchesThatHaveBegunIsTaken) {
  (void)run();
  std::filesystem::remove(folder("256") / "search.db");
  EXPECT_EQ(longest_search_of(database_, std::nullopt), folder("128") / "search.db");
}

TEST_F(PipelinePlacesTest, StageThatIsNoSearchIsRefused) {
  (void)run();
  EXPECT_THAT([&] { (void)longest_search_of(database_, "tune"); },
              ThrowsMessage<InputError>(HasSubstr("a stage must be a search: tune is finetune")));
}

}  // namespace
}  // namespace longrope
