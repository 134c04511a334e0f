#pragma once

#include "finetune/process_place.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

namespace longrope {

/// Adds tensors up over processes with c10d: Gloo for those in the memory of the CPU, NCCL for those on a GPU, of which
/// each process must have its own (never run on one yet). The processes meet at the TCPStore of rank 0 or torchrun.
/// Nothing is encrypted or authenticated: only on a network that is trusted. Rank 0 listens on the address of `host`,
/// every process on that from which it reaches rank 0 or that of its `interface`, and on no other. Not thread-safe.
class DataParallel {
 public:
  /// Waits for all processes. Throws Error when they do not come within kPatienceSeconds.
  explicit DataParallel(const ProcessPlace& place);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  /// Every process calls it with what must be the same in all. Throws Error, with both texts, where it is not that of
  /// rank 0.
  void require_same(const std::string& what, const std::string& text);
  /// Every process calls it with tensors of the same shape and dtype; each then holds the sum, the same bits for as
  /// many processes. Throws Error when a process has ended or does not answer within kPatienceSeconds; of a tensor on a
  /// GPU, whose sum is there when the work of its stream is, the next sum on the CPU says so.
  void sum(const at::Tensor& tensor);
  /// The same for a number.
  [[nodiscard]] double sum(double value);
  /// Returns when every process has called it: rank 0 must not leave before.
  void finish();

  static constexpr std::int64_t kPatienceSeconds = 600;

 private:
  struct Group;

  ProcessPlace place_;
  std::unique_ptr<Group> group_;  // none when alone
};

}  // namespace longrope
