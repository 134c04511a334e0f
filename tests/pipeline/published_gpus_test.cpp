#include "pipeline/published_gpus.h"

#include <gtest/gtest.h>

namespace longrope {
namespace {

TEST(PublishedGpusTest, GpuIsFoundByTheDriversName) {
  EXPECT_EQ(published_gpu("NVIDIA H100 80GB HBM3")->bf16_tflops, 989.0);
  EXPECT_EQ(published_gpu("NVIDIA H100 PCIe")->bf16_tflops, 756.0) << "not that of the name it begins with";
  EXPECT_EQ(published_gpu("NVIDIA L40S")->name, "L40S");
  EXPECT_EQ(published_gpu("NVIDIA A100-SXM4-80GB")->gibibytes, 80);
  EXPECT_EQ(published_gpu("NVIDIA A10")->name, "A10");
  for (const char* const other : {"Quadro K4000", "NVIDIA L40", "NVIDIA RTX A1000", "NVIDIA GH200 480GB", ""}) {
    EXPECT_EQ(published_gpu(other), nullptr) << other;
  }
}

}  // namespace
}  // namespace longrope
