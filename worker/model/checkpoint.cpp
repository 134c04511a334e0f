#include "worker/model/checkpoint.h"

#include <ATen/ATen.h>

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace longrope {
namespace {

/// The dtype of a tensor that CheckpointTensors::require() has accepted.
at::ScalarType floating_dtype(const TensorView& view) {
  if (view.dtype == "F32") return at::kFloat;
  return view.dtype == "F16" ? at::kHalf : at::kBFloat16;
}

/// Gives the mapped pages back, so that loading does not hold the file and its copy at once. They stay in the system's
/// cache and are read again if touched; refusal by the system costs memory only.
void release_pages(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page;
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

at::Tensor copy_of(std::span<const std::byte> bytes, const std::vector<std::int64_t>& shape, at::ScalarType stored,
                   at::ScalarType dtype, at::Device device) {
  const at::Tensor copy = at::empty(shape, at::TensorOptions().dtype(stored));
  // A hostile file need not align its data: bytes are copied, never read in place.
  std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
  release_pages(bytes);
  return copy.to(at::TensorOptions().dtype(dtype).device(device));
}

}  // namespace

at::Tensor Checkpoint::load_rows(const std::string& name, std::int64_t first, std::int64_t count, at::ScalarType dtype,
                                 at::Device device) const {
  const TensorView& view = *tensors_.find(name);
  const auto row_bytes = view.bytes.size() / static_cast<std::size_t>(view.shape.at(0));
  const auto bytes =
      view.bytes.subspan(static_cast<std::size_t>(first) * row_bytes, static_cast<std::size_t>(count) * row_bytes);
  return copy_of(bytes, {count, view.shape.at(1)}, floating_dtype(view), dtype, device);
}

at::Tensor Checkpoint::load(const std::string& name, const std::vector<std::int64_t>& shape, at::ScalarType dtype,
                            at::Device device) {
  const TensorView& view = tensors_.require(name, shape);
  loaded_.insert(name);
  return copy_of(view.bytes, shape, floating_dtype(view), dtype, device);
}

}  // namespace longrope
