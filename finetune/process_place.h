#pragma once

#include <cstdint>
#include <string>

namespace longrope {

/// Which of the processes that train together this one is, and where they meet.
struct ProcessPlace {
  std::int64_t rank = 0;        // 0-based, among all processes
  std::int64_t count = 1;       // number of processes
  std::int64_t local_rank = 0;  // 0-based, among the processes of its machine: which visible GPU is its own
  std::string host;             // where rank 0 is reached
  std::uint16_t port = 0;       // the store's, at `host`
  bool store_is_there = false;  // true: torchrun keeps the store; false: rank 0 does
  std::string interface;        // network interface to be reached at; empty: the one that leads to rank 0
  std::int64_t restart = 0;     // how often torchrun restarted all processes; its store keeps keys of earlier runs

  [[nodiscard]] bool alone() const { return count == 1; }
};

/// Reads RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which torchrun sets (a Slurm script may set them from its own
/// variables); without WORLD_SIZE the process is alone. Optional: LOCAL_RANK; GLOO_SOCKET_IFNAME, one interface, as in
/// PyTorch; TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_RESTART_COUNT, which only torchrun sets. Throws InputError
/// naming the variable that is missing or out of range.
[[nodiscard]] ProcessPlace process_place_from_environment();

}  // namespace longrope
