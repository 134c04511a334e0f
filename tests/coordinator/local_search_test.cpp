#include "coordinator/local_search.h"

#include "common/error.h"
#include "tests/coordinator/store/sample_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrope {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class LocalSearchTest : public testing::Test {
 protected:
  /// A search in which a worker of this description has brought so many results.
  void write_worker(const std::string& description, std::int64_t results) const {
    WorkerRecord worker = sample::worker();
    worker.device = description;
    worker.results = results;
    Store store(database_, sample::run());
    store.apply(std::vector<Write>{worker});
  }

  std::filesystem::path database_ = sample::fresh_directory() / "search.db";
};

constexpr const char* kCpu = "Torch 2.11.0, cpu Xeon (own AVX-512 kernels, 1 threads), Float weights, Float arithmetic";
constexpr const char* kGpu =
    "Torch 2.11.0, cuda:0 (own rotary and log-sum-exp kernels), Float weights, Float arithmetic";

TEST_F(LocalSearchTest, SearchOfACpuDoesNotGoOnOnAGpu) {
  write_worker(kCpu, 3);
  EXPECT_NO_THROW(require_same_device_kind(database_, "cpu"));
  EXPECT_THAT([&] { require_same_device_kind(database_, "cuda:0"); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("must go on with the kind of device that it began with"),
                                              HasSubstr("began on cpu, now cuda:0 (--device cpu goes on; "))));
}

TEST_F(LocalSearchTest, SearchOfAGpuGoesOnOnAnyGpuAndOnNoCpu) {
  write_worker(kGpu, 3);
  EXPECT_NO_THROW(require_same_device_kind(database_, "cuda:7"));
  EXPECT_THAT([&] { require_same_device_kind(database_, "cpu"); },
              ThrowsMessage<InputError>(HasSubstr("began on cuda, now cpu")));
}

TEST_F(LocalSearchTest, SearchWithoutResultsTakesAnyDevice) {
  write_worker(kCpu, 0);
  EXPECT_NO_THROW(require_same_device_kind(database_, "cuda:0"));
}

}  // namespace
}  // namespace longrope
