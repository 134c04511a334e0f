// The header of a .safetensors file: lengths, JSON, offsets.
#include "common/files/safetensors_file.h"
#include "tests/fuzz/fuzz_target.h"

void longrope::read_hostile_input(std::string_view input) {
  const SafetensorsFile file(hostile_file("model.safetensors", input));
  std::size_t data_bytes = 0;
  unsigned sum = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    data_bytes += tensor.bytes.size();
    for (const std::byte byte : tensor.bytes) sum += std::to_integer<unsigned>(byte);  // readable to its end
  }
  // No byte belongs to two tensors.
  require_promise(sum <= 255U * input.size() && data_bytes < input.size(), "tensors must lie within the file");
}
