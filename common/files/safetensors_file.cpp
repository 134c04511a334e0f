#include "common/files/safetensors_file.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/strict_json.h"
#include "common/files/write_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace longrope {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as the reference implementation
constexpr std::size_t kLengthBytes = sizeof(std::uint64_t);
constexpr std::size_t kHeaderDepth = 3;  // header → tensor → shape
constexpr std::size_t kAlignment = 8;    // the written data section starts at a multiple of this
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kLargeFilePointer = "version https://git-lfs.github.com/spec/";

constexpr std::array<std::pair<std::string_view, std::uint64_t>, 15> kBytesPerElement = {{{"BOOL", 1},
                                                                                          {"U8", 1},
                                                                                          {"I8", 1},
                                                                                          {"F8_E4M3", 1},
                                                                                          {"F8_E5M2", 1},
                                                                                          {"I16", 2},
                                                                                          {"U16", 2},
                                                                                          {"F16", 2},
                                                                                          {"BF16", 2},
                                                                                          {"I32", 4},
                                                                                          {"U32", 4},
                                                                                          {"F32", 4},
                                                                                          {"I64", 8},
                                                                                          {"U64", 8},
                                                                                          {"F64", 8}}};

std::optional<std::uint64_t> bytes_per_element(std::string_view dtype) {
  const auto* const found = std::ranges::find(kBytesPerElement, dtype, &decltype(kBytesPerElement)::value_type::first);
  if (found == kBytesPerElement.end()) return std::nullopt;
  return found->second;
}

/// Bytes of a tensor, or nullopt when they do not fit 64 bits.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape, std::uint64_t element_bytes) {
  std::uint64_t total = element_bytes;
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(total, static_cast<std::uint64_t>(size), &total)) return std::nullopt;
  }
  return total;
}

[[noreturn]] void refuse(const std::string& rule_and_value, std::string_view place) {
  throw InputError(fmt::format("{} ({})", rule_and_value, place));
}

/// Where a tensor lies in the data section, [begin, end).
struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string name;
};

/// Reads one header entry; its bytes are checked against its shape, not yet against the other tensors.
std::pair<TensorView, Extent> read_entry(const std::string& name, const JsonObject& header,
                                         std::span<const std::byte> data, const std::string& file) {
  const JsonObject entry = header.object(name);
  entry.refuse_unknown_keys({"dtype", "shape", "data_offsets"});
  TensorView view;
  view.dtype = entry.text("dtype");
  const auto element_bytes = bytes_per_element(view.dtype);
  if (!element_bytes) entry.refuse("dtype", "must be a known one");
  view.shape = entry.integers("shape", 0);
  const std::vector<std::int64_t> offsets = entry.integers("data_offsets", 0);
  if (offsets.size() != 2) entry.refuse("data_offsets", "must be [begin, end]");
  Extent extent{static_cast<std::uint64_t>(offsets[0]), static_cast<std::uint64_t>(offsets[1]), name};
  const std::string place = fmt::format("tensor {}, {}", nlohmann::json(name).dump(), file);
  if (extent.begin > extent.end || extent.end > data.size()) {
    refuse(fmt::format("data_offsets must lie within the file's {} data bytes: [{}, {}]", data.size(), extent.begin,
                       extent.end),
           place);
  }
  const auto expected = bytes_of(view.shape, *element_bytes);
  if (!expected) refuse("shape must not overflow 64 bits", place);
  if (*expected != extent.end - extent.begin) {
    refuse(fmt::format("bytes must agree with dtype and shape: {} for {} of shape [{}], which needs {}",
                       extent.end - extent.begin, view.dtype, fmt::join(view.shape, ", "), *expected),
           place);
  }
  view.bytes = data.subspan(extent.begin, extent.end - extent.begin);
  return {std::move(view), std::move(extent)};
}

/// Every data byte belongs to exactly one tensor.
void require_no_overlap_or_hole(std::vector<Extent>& extents, std::uint64_t data_bytes, const std::string& file) {
  std::ranges::sort(extents, {}, [](const Extent& extent) { return std::pair(extent.begin, extent.end); });
  std::uint64_t covered = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != covered) {
      refuse(fmt::format("tensors must not {}: {} begins at {}, expected {}",
                         extent.begin < covered ? "overlap" : "leave holes", nlohmann::json(extent.name).dump(),
                         extent.begin, covered),
             file);
    }
    covered = extent.end;
  }
  if (covered != data_bytes) {
    refuse(fmt::format("tensors must cover the data: {} of {} bytes", covered, data_bytes), file);
  }
}

std::string cause() { return std::system_category().message(errno); }

}  // namespace

struct SafetensorsFile::Mapping {
  void* address = MAP_FAILED;
  std::size_t size = 0;
  std::map<std::string, TensorView> tensors;
  std::map<std::string, std::string> metadata;

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (address != MAP_FAILED) ::munmap(address, size);
  }

  void map(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not block
    if (descriptor < 0) refuse(fmt::format("file must be readable: {}", cause()), path.native());
    struct stat status = {};
    const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    size = regular ? static_cast<std::size_t>(status.st_size) : 0;
    if (size > kLengthBytes) address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const std::string mapping_cause = cause();
    ::close(descriptor);
    if (!regular) refuse("file must be a regular file", path.native());
    if (size <= kLengthBytes) refuse(fmt::format("file must hold a header: {} bytes", size), path.native());
    if (address == MAP_FAILED) {
      throw Error(fmt::format("cannot map a file into memory: {} ({})", mapping_cause, path.native()));
    }
  }

  void read_header(const std::string& file) {
    const std::span<const std::byte> whole(static_cast<const std::byte*>(address), size);
    const std::string_view text(static_cast<const char*>(address), size);
    if (text.starts_with(kLargeFilePointer)) {
      refuse("file must hold tensors: it is a Git LFS pointer, not yet the file; fetch it with git lfs pull", file);
    }
    std::uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, whole.data(), kLengthBytes);  // little-endian, as every platform we build for
    if (header_bytes > kMaxHeaderBytes || header_bytes > size - kLengthBytes) {
      refuse(fmt::format("header must be at most {} bytes and end within the file: {} bytes in a file of {}",
                         kMaxHeaderBytes, header_bytes, size),
             file);
    }
    const std::span<const std::byte> header = whole.subspan(kLengthBytes, header_bytes);
    const std::span<const std::byte> data = whole.subspan(kLengthBytes + header_bytes);
    const nlohmann::json json = parse_strict_json({reinterpret_cast<const char*>(header.data()), header.size()},
                                                  "header of " + file, kHeaderDepth);
    const JsonObject object(json, "header of " + file);
    std::vector<Extent> extents;
    extents.reserve(json.size());
    for (const std::string& name : object.keys()) {
      if (name == kMetadataKey) {
        read_metadata(object.object(name));
        continue;
      }
      auto [view, extent] = read_entry(name, object, data, file);
      tensors.emplace(name, std::move(view));
      extents.push_back(std::move(extent));
    }
    require_no_overlap_or_hole(extents, data.size(), file);
  }

  void read_metadata(const JsonObject& object) {
    for (const std::string& key : object.keys()) metadata.emplace(key, object.text(key));
  }
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : mapping_(std::make_unique<Mapping>()) {
  mapping_->map(path);
  mapping_->read_header(path.native());
}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const std::map<std::string, TensorView>& SafetensorsFile::tensors() const { return mapping_->tensors; }
const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return mapping_->metadata; }

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Wide elements first, so that every tensor is aligned to its element (readers map the file).
  std::vector<std::pair<std::uint64_t, std::string_view>> order;
  for (const auto& [name, tensor] : tensors) {
    const auto element_bytes = bytes_per_element(tensor.dtype);
    const bool sizes_allowed = std::ranges::all_of(tensor.shape, [](std::int64_t size) { return size >= 0; });
    const auto expected = element_bytes && sizes_allowed ? bytes_of(tensor.shape, *element_bytes) : std::nullopt;
    if (name == kMetadataKey || expected != tensor.bytes.size()) {
      throw Error(fmt::format("cannot write tensor {}: its dtype {} and shape [{}] do not give its {} bytes ({})", name,
                              tensor.dtype, fmt::join(tensor.shape, ", "), tensor.bytes.size(), path.native()));
    }
    order.emplace_back(*element_bytes, name);
  }
  std::ranges::stable_sort(order, std::ranges::greater{}, &decltype(order)::value_type::first);

  nlohmann::json json = nlohmann::json::object();
  if (!metadata.empty()) json[std::string(kMetadataKey)] = metadata;
  std::uint64_t offset = 0;
  for (const auto& [element_bytes, name] : order) {
    const TensorToWrite& tensor = tensors.at(std::string(name));
    const std::uint64_t end = offset + tensor.bytes.size();
    json[std::string(name)] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string header = json.dump();
  header.append((kAlignment - header.size() % kAlignment) % kAlignment, ' ');
  const std::uint64_t header_bytes = header.size();
  write_file_atomically(path, [&](const AppendBytes& append) {
    append(std::as_bytes(std::span(&header_bytes, 1)));
    append(std::as_bytes(std::span(header)));
    for (const auto& [element_bytes, name] : order) append(tensors.at(std::string(name)).bytes);
  });
}

}  // namespace longrope
