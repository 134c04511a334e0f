#include "worker/model/checkpoint.h"

#include "common/error.h"
#include "common/model/model_description.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace longrope {
namespace {

std::optional<at::ScalarType> floating_dtype(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "F16") return at::kHalf;
  if (name == "BF16") return at::kBFloat16;
  return std::nullopt;
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

Checkpoint::Checkpoint(const std::filesystem::path& directory)
    : directory_(directory), paths_(weight_files(directory)) {
  files_.reserve(paths_.size());
  for (const std::filesystem::path& path : paths_) {
    files_.emplace_back(path);
    for (const auto& [name, view] : files_.back().tensors()) {
      const auto [entry, inserted] = entries_.try_emplace(name, Entry{.file = files_.size() - 1});
      if (!inserted) {
        throw InputError(fmt::format("a tensor must be in one shard: {} is in {} and {}", name,
                                     paths_[entry->second.file].native(), path.native()));
      }
    }
  }
}

at::Tensor Checkpoint::load_rows(const std::string& name, std::int64_t first, std::int64_t count, at::ScalarType dtype,
                                 at::Device device) const {
  const TensorView& view = files_[entries_.at(name).file].tensors().at(name);
  const auto row_bytes = view.bytes.size() / static_cast<std::size_t>(view.shape.at(0));
  const auto bytes =
      view.bytes.subspan(static_cast<std::size_t>(first) * row_bytes, static_cast<std::size_t>(count) * row_bytes);
  return copy_of(bytes, {count, view.shape.at(1)}, floating_dtype(view.dtype).value(), dtype, device);
}

at::Tensor Checkpoint::load(const std::string& name, const std::vector<std::int64_t>& shape, at::ScalarType dtype,
                            at::Device device) {
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) {
    throw InputError(fmt::format("missing tensor: {} ({})", name, directory_.native()));
  }
  const std::string& path = paths_[entry->second.file].native();
  const TensorView& view = files_[entry->second.file].tensors().at(name);
  if (view.shape != shape) {
    throw InputError(fmt::format("shape mismatch: {} is [{}], config.json gives [{}] ({})", name,
                                 fmt::join(view.shape, ", "), fmt::join(shape, ", "), path));
  }
  const auto stored = floating_dtype(view.dtype);
  if (!stored) {
    throw InputError(fmt::format("weights must be F32, F16 or BF16: {} is {} ({})", name, view.dtype, path));
  }
  entry->second.loaded = true;
  return copy_of(view.bytes, shape, *stored, dtype, device);
}

void Checkpoint::require_all_loaded(const std::set<std::string>& ignored) const {
  for (const auto& [name, entry] : entries_) {
    const bool allowed =
        std::ranges::any_of(ignored, [&name = name](const std::string& suffix) { return name.ends_with(suffix); });
    if (!entry.loaded && !allowed) {
      throw InputError(fmt::format("every tensor must belong to the architecture: {} does not ({})", name,
                                   paths_[entry.file].native()));
    }
  }
}

}  // namespace longrope
