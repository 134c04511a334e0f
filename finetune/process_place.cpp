#include "finetune/process_place.h"

#include "common/error.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

namespace longrope {
namespace {

constexpr std::int64_t kMaxProcesses = 4096;
constexpr std::int64_t kMaxRestarts = 1'000'000;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    throw InputError(fmt::format("{} must be set for training in several processes: it is not (environment)", name));
  }
  return value;
}

bool is_set(const char* name) { return std::getenv(name) != nullptr; }

std::int64_t number(const char* name, std::int64_t low, std::int64_t high) {
  const std::string text = variable(name);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw InputError(fmt::format("{} must be from {} to {}: {} (environment)", name, low, high, text));
  }
  return value;
}

}  // namespace

ProcessPlace process_place_from_environment() {
  ProcessPlace place;
  if (!is_set("WORLD_SIZE")) return place;
  place.count = number("WORLD_SIZE", 1, kMaxProcesses);
  if (place.alone()) return place;
  place.rank = number("RANK", 0, place.count - 1);
  if (is_set("LOCAL_RANK")) place.local_rank = number("LOCAL_RANK", 0, place.count - 1);
  place.host = variable("MASTER_ADDR");
  place.port = static_cast<std::uint16_t>(number("MASTER_PORT", 1, std::numeric_limits<std::uint16_t>::max()));
  const char* const torchruns = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
  place.store_is_there = torchruns != nullptr && std::string_view(torchruns) == "True";
  if (const char* const interface = std::getenv("GLOO_SOCKET_IFNAME")) place.interface = interface;
  constexpr const char* kRestarts = "TORCHELASTIC_RESTART_COUNT";
  if (is_set(kRestarts)) place.restart = number(kRestarts, 0, kMaxRestarts);
  return place;
}

}  // namespace longrope
