#include "finetune/data_parallel.h"

#include "common/error.h"
#include "finetune/nccl_group.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace longrope {
namespace {

constexpr int kBacklog = 128;
constexpr std::chrono::seconds kPatience(DataParallel::kPatienceSeconds);

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Addresses addresses_of_rank_0(const ProcessPlace& place, int socket_type) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = socket_type;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(place.host.c_str(), std::to_string(place.port).c_str(), &hints, &found)) {
    throw Error(fmt::format("cannot resolve MASTER_ADDR {}: {}", place.host, ::gai_strerror(error)));
  }
  return {found, &::freeaddrinfo};
}

/// A socket that listens on the address of rank 0 only; the store's own would listen on all.
int listening_socket(const ProcessPlace& place) {
  const Addresses found = addresses_of_rank_0(place, SOCK_STREAM);
  const int descriptor = ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
  const int yes = 1;
  if (descriptor < 0 || ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
      ::bind(descriptor, found->ai_addr, found->ai_addrlen) != 0 || ::listen(descriptor, kBacklog) != 0) {
    const int cause = errno;
    if (descriptor >= 0) ::close(descriptor);
    throw Error(fmt::format("rank 0 cannot listen on {}:{}: {}", place.host, place.port, std::strerror(cause)));
  }
  return descriptor;
}

/// The address from which this machine reaches rank 0; nothing is sent.
std::string own_address(const ProcessPlace& place) {
  const Addresses found = addresses_of_rank_0(place, SOCK_DGRAM);
  sockaddr_storage own{};
  socklen_t size = sizeof(own);
  std::array<char, NI_MAXHOST> text{};
  const int descriptor = ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
  auto* const address = reinterpret_cast<sockaddr*>(&own);
  const bool known = descriptor >= 0 && ::connect(descriptor, found->ai_addr, found->ai_addrlen) == 0 &&
                     ::getsockname(descriptor, address, &size) == 0 &&
                     ::getnameinfo(address, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0;
  const int cause = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!known) throw Error(fmt::format("cannot reach rank 0 at {}: {}", place.host, std::strerror(cause)));
  return text.data();
}

c10d::TCPStoreOptions store_options(const ProcessPlace& place) {
  c10d::TCPStoreOptions options;
  options.port = place.port;
  options.isServer = place.rank == 0 && !place.store_is_there;
  options.waitWorkers = false;
  options.timeout = kPatience;
  if (options.isServer) options.masterListenFd = listening_socket(place);
  return options;
}

c10::intrusive_ptr<c10d::ProcessGroupGloo::Options> gloo_options(const ProcessPlace& place) {
  auto options = c10d::ProcessGroupGloo::Options::create(kPatience);
  options->devices.push_back(place.interface.empty()
                                 ? c10d::ProcessGroupGloo::createDeviceForHostname(own_address(place))
                                 : c10d::ProcessGroupGloo::createDeviceForInterface(place.interface));
  return options;
}

/// Runs `work`, which waits for other processes. What Gloo and the store throw becomes an Error.
template <typename Work>
auto with_the_others(const ProcessPlace& place, const Work& work) {
  try {
    return work();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    throw Error(fmt::format("rank {} lost one of {} processes: it ended, or did not answer within {} s ({})",
                            place.rank, place.count, DataParallel::kPatienceSeconds, text.substr(0, text.find('\n'))));
  }
}

}  // namespace

struct DataParallel::Group {
  explicit Group(const ProcessPlace& place)
      : prefix(fmt::format("longrope/{}", place.restart)),
        tcp(c10::make_intrusive<c10d::TCPStore>(place.host, store_options(place))),
        store(c10::make_intrusive<c10d::PrefixStore>(prefix, tcp)),
        gloo(c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(place.rank),
                                                         static_cast<int>(place.count), gloo_options(place))) {}

  /// The backend for the device of `tensor`. NCCL's is made for the first tensor on a GPU.
  c10d::Backend& of(const at::Tensor& tensor, const ProcessPlace& place) {
    if (tensor.is_cpu()) return *gloo;
    if (!nccl) nccl = nccl_group(c10::make_intrusive<c10d::PrefixStore>("nccl", store), place, kPatience);
    return *nccl;
  }

  std::string prefix;  // for all keys, one for each restart: torchrun's store keeps the keys of earlier ones
  c10::intrusive_ptr<c10d::TCPStore> tcp;
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  c10::intrusive_ptr<c10d::Backend> nccl;  // last, so destroyed first: it aborts what is under way
};

DataParallel::DataParallel(const ProcessPlace& place) : place_(place) {
  if (!place.alone()) group_ = with_the_others(place, [&] { return std::make_unique<Group>(place); });
}

DataParallel::~DataParallel() = default;

void DataParallel::require_same(const std::string& what, const std::string& text) {
  if (place_.alone()) return;
  with_the_others(place_, [&] {
    if (place_.rank == 0) group_->store->set(what, std::vector<std::uint8_t>(text.begin(), text.end()));
    const std::vector<std::uint8_t> found = group_->store->get(what);
    const std::string wanted(found.begin(), found.end());
    if (text == wanted) return;
    throw Error(
        fmt::format("the processes have different {}: rank {} has {}, rank 0 has {}", what, place_.rank, text, wanted));
  });
}

void DataParallel::sum(const at::Tensor& tensor) {
  if (place_.alone()) return;
  const at::Tensor own = tensor.contiguous();  // the tensor itself if it is contiguous already
  with_the_others(place_, [&] {
    std::vector<at::Tensor> tensors = {own};
    group_->of(own, place_).allreduce(tensors)->wait();
  });
  if (!own.is_same(tensor)) tensor.copy_(own);
}

double DataParallel::sum(double value) {
  const at::Tensor tensor = at::full({1}, value, at::TensorOptions().dtype(at::kDouble));
  sum(tensor);
  return tensor.item<double>();
}

void DataParallel::finish() {
  if (place_.alone()) return;
  static_cast<void>(sum(0.0));  // the store does not notice that a process has ended; Gloo does
  with_the_others(place_, [&] {
    if (group_->nccl) group_->nccl->shutdown();
    // The others need nothing more of the store; what rank 0 keeps stays until the last of them has left it.
    const auto left = [&](std::int64_t rank) { return fmt::format("{}/finished/{}", group_->prefix, rank); };
    if (place_.rank != 0) {
      group_->tcp->set(left(place_.rank), std::vector<std::uint8_t>{1});
      return;
    }
    std::vector<std::string> others;
    for (std::int64_t rank = 1; rank < place_.count; ++rank) others.push_back(left(rank));
    group_->tcp->wait(others, kPatience);
  });
}

}  // namespace longrope
