#pragma once

#include "finetune/process_place.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

namespace longrope {

/// Sums tensors over processes with c10d: Gloo for tensors in CPU memory, NCCL for tensors on GPUs, of which each
/// process needs its own (not run on a GPU yet). The processes meet at the TCPStore of rank 0 or of torchrun.
///
/// Nothing is encrypted or authenticated, so use it on a trusted network only. Rank 0 listens on the address of `host`;
/// every process listens on the address from which it reaches rank 0, or on that of its `interface`; on no others.
/// Not thread-safe.
class DataParallel {
 public:
  /// Waits until all processes are there. Throws Error when one is missing after kPatienceSeconds.
  explicit DataParallel(const ProcessPlace& place);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  /// Every process calls it with a text that has to be the same in all; `what` names it, as a plural. Throws Error with
  /// both texts in a process whose text differs from that of rank 0.
  void require_same(const std::string& what, const std::string& text);
  /// Every process calls it with a tensor of the same shape and dtype; every process then holds the sum, which is
  /// bit-identical for a given number of processes. Throws Error when a process has ended or does not answer within
  /// kPatienceSeconds. The sum of a GPU tensor is queued on its stream, so there the next sum on the CPU throws.
  void sum(const at::Tensor& tensor);
  /// Sums a number in the same way; returns the sum.
  [[nodiscard]] double sum(double value);
  /// Returns when every process has called it. Rank 0 may not end earlier, because its store is the meeting place.
  void finish();

  static constexpr std::int64_t kPatienceSeconds = 600;

 private:
  struct Group;

  ProcessPlace place_;
  std::unique_ptr<Group> group_;  // null when alone
};

}  // namespace longrope
