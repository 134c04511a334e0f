#include "finetune/process_place.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace longrope {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class ProcessPlaceTest : public testing::Test {
 protected:
  void SetUp() override { forget(); }
  void TearDown() override { forget(); }

  static void set(const char* name, const char* value) { ::setenv(name, value, /*overwrite=*/1); }
  static void forget() {
    for (const char* const name :
         {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE",
          "TORCHELASTIC_RESTART_COUNT", "GLOO_SOCKET_IFNAME"}) {
      ::unsetenv(name);
    }
  }
  static void set_second_of_three() {
    set("WORLD_SIZE", "3");
    set("RANK", "1");
    set("MASTER_ADDR", "node1");
    set("MASTER_PORT", "29500");
  }
  static void expect_refused(const char* part) {
    EXPECT_THAT([] { static_cast<void>(process_place_from_environment()); },
                ThrowsMessage<InputError>(HasSubstr(part)));
  }
};

TEST_F(ProcessPlaceTest, WithoutWorldSizeAProcessIsAlone) {
  set("RANK", "nonsense");
  EXPECT_TRUE(process_place_from_environment().alone());
}

TEST_F(ProcessPlaceTest, AWorldOfOneNeedsNothingElse) {
  set("WORLD_SIZE", "1");
  EXPECT_TRUE(process_place_from_environment().alone());
}

TEST_F(ProcessPlaceTest, TheVariablesOfTorchrunSayThePlace) {
  set_second_of_three();
  const ProcessPlace place = process_place_from_environment();
  EXPECT_EQ(place.rank, 1);
  EXPECT_EQ(place.count, 3);
  EXPECT_EQ(place.host, "node1");
  EXPECT_EQ(place.port, 29500);
  EXPECT_FALSE(place.store_is_there);
  set("TORCHELASTIC_USE_AGENT_STORE", "True");
  EXPECT_TRUE(process_place_from_environment().store_is_there);
}

TEST_F(ProcessPlaceTest, InterfaceIsGloosOrTheWayToRankZero) {
  set_second_of_three();
  EXPECT_EQ(process_place_from_environment().interface, "");
  set("GLOO_SOCKET_IFNAME", "eth1");
  EXPECT_EQ(process_place_from_environment().interface, "eth1");
}

TEST_F(ProcessPlaceTest, LocalRankIsTorchrunsOrTheFirst) {
  set_second_of_three();
  EXPECT_EQ(process_place_from_environment().local_rank, 0);
  set("LOCAL_RANK", "2");
  EXPECT_EQ(process_place_from_environment().local_rank, 2);
}

TEST_F(ProcessPlaceTest, RestartIsThatOfTorchrunOrTheFirst) {
  set_second_of_three();
  EXPECT_EQ(process_place_from_environment().restart, 0);
  set("TORCHELASTIC_RESTART_COUNT", "2");
  EXPECT_EQ(process_place_from_environment().restart, 2);
}

TEST_F(ProcessPlaceTest, WhatIsMissingIsNamed) {
  for (const char* const name : {"RANK", "MASTER_ADDR", "MASTER_PORT"}) {
    set_second_of_three();
    ::unsetenv(name);
    expect_refused(name);
  }
}

TEST_F(ProcessPlaceTest, WhatIsOutOfRangeIsRefusedWithItsValue) {
  set_second_of_three();
  set("RANK", "3");
  expect_refused("RANK must be from 0 to 2: 3");
  set("RANK", "1x");
  expect_refused("RANK must be from 0 to 2: 1x");
  set_second_of_three();
  set("MASTER_PORT", "65536");
  expect_refused("MASTER_PORT must be from 1 to 65535: 65536");
  set_second_of_three();
  set("TORCHELASTIC_RESTART_COUNT", "-1");
  expect_refused("TORCHELASTIC_RESTART_COUNT must be from 0 to 1000000: -1");
  set("TORCHELASTIC_RESTART_COUNT", "one");
  expect_refused("TORCHELASTIC_RESTART_COUNT must be from 0 to 1000000: one");
  set_second_of_three();
  set("LOCAL_RANK", "3");
  expect_refused("LOCAL_RANK must be from 0 to 2: 3");
  set("WORLD_SIZE", "0");
  expect_refused("WORLD_SIZE must be from 1 to 4096: 0");
}

}  // namespace
}  // namespace longrope
