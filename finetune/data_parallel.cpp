#include "finetune/data_parallel.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "common/error.h"

namespace longrope {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{4} << 20U;  // the store takes 8 MiB at most
constexpr int kBacklog = 128;

/// A socket that listens on one address, not on all as the store's own would.
int listening_socket(const ProcessPlace& place) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(place.host.c_str(), std::to_string(place.port).c_str(), &hints, &found)) {
    throw Error(fmt::format("MASTER_ADDR must be an address: {} ({})", place.host, ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  const int descriptor = ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
  const int yes = 1;
  if (descriptor < 0 || ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
      ::bind(descriptor, found->ai_addr, found->ai_addrlen) != 0 || ::listen(descriptor, kBacklog) != 0) {
    const int cause = errno;
    if (descriptor >= 0) ::close(descriptor);
    throw Error(
        fmt::format("rank 0 must be able to listen on {}:{}: {}", place.host, place.port, std::strerror(cause)));
  }
  return descriptor;
}

c10d::TCPStoreOptions store_options(const ProcessPlace& place) {
  c10d::TCPStoreOptions options;
  options.port = place.port;
  options.isServer = place.rank == 0 && !place.store_is_there;
  options.waitWorkers = false;
  options.timeout = std::chrono::seconds(DataParallel::kPatienceSeconds);
  if (options.isServer) options.masterListenFd = listening_socket(place);
  return options;
}

}  // namespace

struct DataParallel::Store {
  explicit Store(const ProcessPlace& place)
      : prefix(fmt::format("longrope/{}", place.restart)), tcp(place.host, store_options(place)) {}

  std::string key(std::int64_t round, std::int64_t rank, std::size_t piece) const {
    return fmt::format("{}/{}/{}/{}", prefix, round, rank, piece);
  }

  void send(std::int64_t round, std::int64_t rank, std::span<const std::uint8_t> bytes) {
    for (std::size_t begin = 0; begin < bytes.size(); begin += kPieceBytes) {
      const auto piece = bytes.subspan(begin, std::min(kPieceBytes, bytes.size() - begin));
      tcp.set(key(round, rank, begin / kPieceBytes), std::vector<std::uint8_t>(piece.begin(), piece.end()));
    }
  }

  void receive(std::int64_t round, std::int64_t rank, std::span<std::uint8_t> bytes) {
    for (std::size_t begin = 0; begin < bytes.size(); begin += kPieceBytes) {
      const auto piece = bytes.subspan(begin, std::min(kPieceBytes, bytes.size() - begin));
      const std::vector<std::uint8_t> received = tcp.get(key(round, rank, begin / kPieceBytes));
      if (received.size() != piece.size()) {
        throw Error(fmt::format("processes must train one model: rank {} sent {} bytes for {}", rank, received.size(),
                                piece.size()));
      }
      std::ranges::copy(received, piece.begin());
    }
  }

  /// Called by every process; the last one finds that all have read, and removes what they sent.
  void forget(std::int64_t round, std::int64_t processes, std::size_t bytes) {
    const std::string readers = fmt::format("{}/{}/readers", prefix, round);
    if (tcp.add(readers, 1) < processes) return;
    for (std::int64_t rank = 0; rank < processes; ++rank) {
      for (std::size_t begin = 0; begin < bytes; begin += kPieceBytes) {
        tcp.deleteKey(key(round, rank, begin / kPieceBytes));
      }
    }
    tcp.deleteKey(readers);
  }

  std::string prefix;  // of all keys: torchrun's store keeps those of processes that it started before
  c10d::TCPStore tcp;
};

DataParallel::DataParallel(const ProcessPlace& place) : place_(place) {
  if (!place.alone()) store_ = std::make_unique<Store>(place);
}

DataParallel::~DataParallel() = default;

void DataParallel::sum(const at::Tensor& tensor) {
  if (place_.alone()) return;
  const std::int64_t round = round_++;
  const at::Tensor own = tensor.to(at::kCPU).contiguous();
  const auto bytes = own.nbytes();
  store_->send(round, place_.rank, {static_cast<const std::uint8_t*>(own.const_data_ptr()), bytes});
  at::Tensor total;
  for (std::int64_t rank = 0; rank < place_.count; ++rank) {
    at::Tensor part = own;
    if (rank != place_.rank) {
      part = at::empty_like(own);
      store_->receive(round, rank, {static_cast<std::uint8_t*>(part.data_ptr()), bytes});
    }
    total = rank == 0 ? part.clone() : total.add_(part);
  }
  tensor.copy_(total);
  store_->forget(round, place_.count, bytes);
}

double DataParallel::sum(double value) {
  const at::Tensor tensor = at::full({1}, value, at::TensorOptions().dtype(at::kDouble));
  sum(tensor);
  return tensor.item<double>();
}

void DataParallel::finish() {
  if (place_.alone()) return;
  store_->tcp.barrier(store_->prefix + "/finished", place_.count, std::chrono::seconds(kPatienceSeconds));
}

}  // namespace longrope
