#include "coordinator/compute_devices.h"

#include "common/error.h"
#include "common/machine_threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::ThrowsMessage;

constexpr std::int64_t kMemory = 150'000'000'000;

MachineDevices two_gpus() { return {.gpus = {{"cuda:0", "NVIDIA H200", kMemory}, {"cuda:1", "NVIDIA H200", kMemory}}}; }
MachineDevices no_gpu() { return {.why_no_gpu = "this build has no CUDA"}; }

TEST(ComputeDevicesTest, AutomaticIsAllGpusWithAWorkerEach) {
  const ChosenDevices chosen = choose_devices({}, two_gpus());
  EXPECT_THAT(chosen.devices, ElementsAre("cuda:0", "cuda:1"));
  EXPECT_THAT(chosen.workers, ElementsAre("cuda:0", "cuda:1"));
  EXPECT_EQ(chosen.description,
            "computing on 2 GPUs: cuda:0 (NVIDIA H200, 139.7 GiB), cuda:1 (NVIDIA H200, 139.7 GiB)");
  EXPECT_EQ(chosen.warning, "");
}

TEST(ComputeDevicesTest, AutomaticWithoutAGpuIsTheWholeCpuAndSaysWhy) {
  const ChosenDevices chosen = choose_devices({}, no_gpu());
  EXPECT_THAT(chosen.devices, ElementsAre("cpu")) << "a fine-tuning is one process, as it was without the key";
  EXPECT_THAT(chosen.workers, SizeIs(static_cast<std::size_t>(machine_threads())));
  EXPECT_THAT(chosen.description, HasSubstr("computing on the CPU with "));
  EXPECT_THAT(chosen.description, HasSubstr(" of 1 thread: no GPU found (this build has no CUDA)"));
}

TEST(ComputeDevicesTest, NamedCpusHaveAWorkerEach) {
  const ChosenDevices chosen = choose_devices({.devices = {"cpu", "cpu"}, .threads = 3}, no_gpu());
  EXPECT_THAT(chosen.workers, ElementsAre("cpu", "cpu"));
  EXPECT_EQ(chosen.description, "computing on the CPU with 2 workers of 3 threads");
}

TEST(ComputeDevicesTest, WorkersTakeTheDevicesInTurn) {
  const ChosenDevices chosen = choose_devices({.workers = 3}, two_gpus());
  EXPECT_THAT(chosen.devices, ElementsAre("cuda:0", "cuda:1"));
  EXPECT_THAT(chosen.workers, ElementsAre("cuda:0", "cuda:1", "cuda:0"));
  EXPECT_THAT(chosen.description, HasSubstr("computing on 2 GPUs with 3 workers: cuda:0"));
}

TEST(ComputeDevicesTest, GpuThatIsThereAndNotUsedIsWarnedOf) {
  EXPECT_EQ(
      choose_devices({.devices = {"cpu"}}, two_gpus()).warning,
      "GPUs are there and not used by a worker: cuda:0 (NVIDIA H200, 139.7 GiB), cuda:1 (NVIDIA H200, 139.7 GiB)");
  EXPECT_EQ(choose_devices({.devices = {"cuda:1"}}, two_gpus()).warning,
            "a GPU is there and not used by a worker: cuda:0 (NVIDIA H200, 139.7 GiB)");
  EXPECT_EQ(choose_devices({.workers = 1}, two_gpus()).warning,
            "a GPU is there and not used by a worker: cuda:1 (NVIDIA H200, 139.7 GiB)");
  MachineDevices without_cuda = no_gpu();
  without_cuda.unused_gpus = {"NVIDIA L40S"};
  EXPECT_EQ(choose_devices({}, without_cuda).warning,
            "this machine has a GPU that is not used (NVIDIA L40S): this build has no CUDA");
  EXPECT_THAT(choose_devices({}, without_cuda).description,
              HasSubstr(": no GPU that can be used (this build has no CUDA)"));
}

TEST(ComputeDevicesTest, GpuOfAnotherMachineIsRefused) {
  EXPECT_THAT([] { static_cast<void>(choose_devices({.devices = {"cuda:2"}}, two_gpus())); },
              ThrowsMessage<InputError>("a device must be one of this machine: cuda:2 (its GPUs are cuda:0, cuda:1)"));
  EXPECT_THAT(
      [] { static_cast<void>(choose_devices({.devices = {"cuda:0"}}, no_gpu())); },
      ThrowsMessage<InputError>("a device must be one of this machine: cuda:0 (no GPU found: this build has no CUDA)"));
}

TEST(ComputeDevicesTest, ListOfTheWorkerProgramIsRead) {
  const MachineDevices machine = parse_machine_devices(
      R"({"gpus": [{"name": "cuda:0", "model": "NVIDIA A100", "memory_bytes": 5}], "why_no_gpu": "",)"
      R"( "unused_gpus": []})");
  ASSERT_THAT(machine.gpus, SizeIs(1));
  EXPECT_EQ(machine.gpus.front().name, "cuda:0");
  EXPECT_EQ(machine.gpus.front().model, "NVIDIA A100");
  EXPECT_EQ(machine.gpus.front().memory_bytes, 5);
  EXPECT_THAT([] { static_cast<void>(parse_machine_devices("none")); },
              ThrowsMessage<Error>(HasSubstr("cannot read the list of devices of longrope-worker")));
}

}  // namespace
}  // namespace longrope
