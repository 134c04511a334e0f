#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "finetune/process_place.h"

namespace longrope {

/// Adds tensors up over processes, through c10d's TCPStore: exact and simple, made for CPUs and small models; every
/// byte goes through rank 0. (The LibTorch wheel has no headers for Gloo or NCCL.) Nothing is encrypted or
/// authenticated: only on a network that is trusted. Rank 0 listens on the address of `host` alone. Not thread-safe.
class DataParallel {
 public:
  /// Waits for all processes. Throws Error when they do not come within kPatienceSeconds.
  explicit DataParallel(const ProcessPlace& place);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  /// Every process calls it with tensors of the same shape and dtype; each then holds the sum in the order of ranks,
  /// the same bits. Throws Error when a process does not answer within kPatienceSeconds or sends another size.
  void sum(const at::Tensor& tensor);
  /// The same for a number.
  [[nodiscard]] double sum(double value);
  /// Returns when every process has called it: rank 0 must not leave before.
  void finish();

  static constexpr std::int64_t kPatienceSeconds = 600;

 private:
  struct Store;

  ProcessPlace place_;
  std::unique_ptr<Store> store_;
  std::int64_t round_ = 0;
};

}  // namespace longrope
