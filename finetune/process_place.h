#pragma once

#include <cstdint>
#include <string>

namespace longrope {

/// Which of the processes that train together this one is, and where they meet.
struct ProcessPlace {
  std::int64_t rank = 0;
  std::int64_t count = 1;
  std::int64_t local_rank = 0;  // among those of its machine: which of the GPUs that it sees is its own
  std::string host;             // of rank 0
  std::uint16_t port = 0;
  bool store_is_there = false;  // torchrun keeps one; else rank 0 does
  std::string interface;        // whose address the others reach this one at; empty: that of the way to rank 0
  std::int64_t restart = 0;     // of all processes, by torchrun, whose store keeps what those before them left

  [[nodiscard]] bool alone() const { return count == 1; }
};

/// From RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them (or a Slurm script from its own); alone
/// without WORLD_SIZE. LOCAL_RANK may be missing. From torchrun alone: TORCHELASTIC_USE_AGENT_STORE,
/// TORCHELASTIC_RESTART_COUNT.
/// GLOO_SOCKET_IFNAME is one interface, as PyTorch has it. Throws InputError naming the variable for one that is
/// missing or out of range.
[[nodiscard]] ProcessPlace process_place_from_environment();

}  // namespace longrope
