#include "config/device_names.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

void expect_refused(const std::vector<std::string>& names, const std::string& part) {
  EXPECT_THAT([&] { static_cast<void>(parse_devices(names)); }, ThrowsMessage<InputError>(HasSubstr(part)));
}

TEST(DeviceNamesTest, AutoAloneLeavesTheChoiceToTheMachine) { EXPECT_THAT(parse_devices({"auto"}), IsEmpty()); }

TEST(DeviceNamesTest, NamesAreCanonical) {
  EXPECT_THAT(parse_devices({"cuda"}), ElementsAre("cuda:0"));
  EXPECT_THAT(parse_devices({"cuda:12", "cuda:0"}), ElementsAre("cuda:12", "cuda:0"));
  EXPECT_THAT(parse_devices({"cpu", "cpu"}), ElementsAre("cpu", "cpu")) << "as many processes";
}

TEST(DeviceNamesTest, OtherNamesAreRefused) {
  for (const char* const name : {"gpu", "", "cuda:", "cuda:-1", "cuda:01", "cuda:1234", "cpu:0", "CPU"}) {
    expect_refused({name}, std::string("a device must be cpu, cuda or cuda:N, or auto alone: ") + name);
  }
  expect_refused({"cpu", "auto"}, "where several are named, or auto alone: auto");
  expect_refused({}, "devices must name one at least, or be auto: none");
}

TEST(DeviceNamesTest, GpuIsNamedOnce) {
  expect_refused({"cuda:1", "cuda:0", "cuda:1"}, "a GPU must be named once: cuda:1");
  expect_refused({"cuda", "cuda:0"}, "a GPU must be named once: cuda:0");
}

TEST(DeviceNamesTest, DescriptionsTellTheArithmeticThatASearchKeepsTo) {
  EXPECT_EQ(described_arithmetic("Torch 2.13.0, cuda:1 (own kernels), BFloat16 weights"), "cuda");
  EXPECT_EQ(described_arithmetic("Torch 2.13.0, cpu EPYC (own AVX-512 kernels), Float arithmetic"), "cpu");
  EXPECT_EQ(described_arithmetic("Torch 2.13.0, cpu EPYC (own), Float arithmetic, BFloat16 products"),
            "cpu with bfloat16 products");
  EXPECT_EQ(described_arithmetic("something else"), "");
}

TEST(DeviceNamesTest, DevicesOfTwoKindsAreRefused) {
  expect_refused({"cpu", "cuda:0"}, "must not mix them: cpu, cuda:0");
}

}  // namespace
}  // namespace longrope
