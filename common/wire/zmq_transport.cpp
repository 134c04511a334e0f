#include "common/wire/zmq_transport.h"

#include "common/error.h"
#include "common/wire/endpoint.h"
#include "common/wire/messages.h"

#include <zmq.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr int kHighWaterMark = 1000;             // frames queued per peer
constexpr int kHandshakeMilliseconds = 5000;     // a peer that does not finish the ZMTP handshake is dropped
constexpr int kServerLingerMilliseconds = 1000;  // for dismissals to leave when the search is finished
constexpr int kReconnectMilliseconds = 200;
constexpr int kReconnectMaxMilliseconds = 2000;

void set_limits(zmq::socket_t& socket, std::size_t max_frame) {
  socket.set(zmq::sockopt::sndhwm, kHighWaterMark);
  socket.set(zmq::sockopt::rcvhwm, kHighWaterMark);
  socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(max_frame));
  socket.set(zmq::sockopt::handshake_ivl, kHandshakeMilliseconds);
  socket.set(zmq::sockopt::linger, 0);
}

/// Receives a whole multi-part message; nullopt when none is there or a signal interrupted.
std::optional<std::vector<zmq::message_t>> receive_parts(zmq::socket_t& socket) {
  std::vector<zmq::message_t> parts;
  try {
    do {
      zmq::message_t part;
      if (!socket.recv(part, zmq::recv_flags::dontwait)) return std::nullopt;
      parts.push_back(std::move(part));
    } while (parts.back().more());
  } catch (const zmq::error_t& error) {
    if (error.num() == EINTR) return std::nullopt;
    throw Error(std::string("ZeroMQ receive failed: ") + error.what());
  }
  return parts;
}

/// Waits for the socket or `wake_descriptor` (-1: none); false on timeout or signal.
bool wait_for(zmq::socket_t& socket, int wake_descriptor, std::chrono::milliseconds timeout) {
  std::array<zmq::pollitem_t, 2> items{
      {{socket.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, wake_descriptor, ZMQ_POLLIN, 0}}};
  try {
    const std::size_t count = wake_descriptor < 0 ? 1 : 2;
    return zmq::poll(items.data(), count, timeout) > 0;
  } catch (const zmq::error_t& error) {
    if (error.num() == EINTR) return false;
    throw Error(std::string("ZeroMQ poll failed: ") + error.what());
  }
}

}  // namespace

struct ZmqServer::Sockets {
  zmq::context_t context{1};
  zmq::socket_t router{context, zmq::socket_type::router};
};

ZmqServer::ZmqServer(const std::string& text) : sockets_(std::make_unique<Sockets>()) {
  const std::string endpoint = checked_endpoint(text, EndpointUse::kBind);
  set_limits(sockets_->router, kMaxWorkerFrameBytes);
  sockets_->router.set(zmq::sockopt::linger, kServerLingerMilliseconds);
  sockets_->router.set(zmq::sockopt::router_mandatory, true);
  sockets_->router.set(zmq::sockopt::sndtimeo, 0);
  sockets_->router.set(zmq::sockopt::ipv6, is_ipv6(endpoint));
  try {
    sockets_->router.bind(endpoint);
  } catch (const zmq::error_t& error) {
    throw Error("cannot bind to " + endpoint + ": " + error.what());
  }
}

ZmqServer::~ZmqServer() = default;

std::string ZmqServer::endpoint() const { return sockets_->router.get(zmq::sockopt::last_endpoint); }

std::optional<Frame> ZmqServer::receive(std::chrono::milliseconds timeout) {
  auto parts = receive_parts(sockets_->router);
  if (!parts && timeout.count() > 0 && wait_for(sockets_->router, -1, timeout)) {
    parts = receive_parts(sockets_->router);
  }
  if (!parts || parts->empty()) return std::nullopt;
  // Other than [peer][frame] is no message of ours: handed on empty, which no decoder accepts.
  Frame frame{parts->front().to_string(), parts->size() == 2 ? parts->back().to_string() : std::string()};
  return frame;
}

bool ZmqServer::send(std::string_view peer, std::string_view bytes) {
  try {
    zmq::message_t identity(peer.data(), peer.size());
    if (!sockets_->router.send(identity, zmq::send_flags::sndmore | zmq::send_flags::dontwait)) return false;
    return sockets_->router.send(zmq::buffer(bytes), zmq::send_flags::dontwait).has_value();
  } catch (const zmq::error_t& error) {
    if (error.num() == EHOSTUNREACH || error.num() == EINTR) return false;
    throw Error(std::string("ZeroMQ send failed: ") + error.what());
  }
}

struct ZmqClient::Sockets {
  Sockets() : wake_descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (wake_descriptor < 0) throw Error("cannot create an eventfd");
  }
  ~Sockets() { ::close(wake_descriptor); }
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;

  int wake_descriptor;
  zmq::context_t context{1};
  zmq::socket_t dealer{context, zmq::socket_type::dealer};
};

ZmqClient::ZmqClient(const std::string& text, const std::string& incarnation) : sockets_(std::make_unique<Sockets>()) {
  const std::string endpoint = checked_endpoint(text, EndpointUse::kConnect);
  set_limits(sockets_->dealer, kMaxCoordinatorFrameBytes);
  sockets_->dealer.set(zmq::sockopt::routing_id, incarnation);
  sockets_->dealer.set(zmq::sockopt::immediate, true);  // nothing piles up for a coordinator that is away
  // Only for addresses: with it, names would be looked up as IPv6 alone, and "localhost" would miss 127.0.0.1.
  sockets_->dealer.set(zmq::sockopt::ipv6, is_ipv6(endpoint));
  sockets_->dealer.set(zmq::sockopt::reconnect_ivl, kReconnectMilliseconds);
  sockets_->dealer.set(zmq::sockopt::reconnect_ivl_max, kReconnectMaxMilliseconds);
  try {
    sockets_->dealer.connect(endpoint);
  } catch (const zmq::error_t& error) {
    throw InputError("cannot connect to " + endpoint + ": " + error.what());
  }
}

ZmqClient::~ZmqClient() = default;

std::optional<std::string> ZmqClient::receive(std::chrono::milliseconds timeout) {
  auto parts = receive_parts(sockets_->dealer);
  if (!parts && timeout.count() > 0 && wait_for(sockets_->dealer, sockets_->wake_descriptor, timeout)) {
    std::uint64_t count = 0;
    // Only empties the counter; that it was empty already is fine.
    [[maybe_unused]] const ssize_t read_bytes = ::read(sockets_->wake_descriptor, &count, sizeof count);
    parts = receive_parts(sockets_->dealer);
  }
  if (!parts || parts->size() != 1) return std::nullopt;
  return parts->front().to_string();
}

void ZmqClient::send(std::string_view bytes) {
  try {
    // A full queue drops the frame: everything that matters is sent again until acknowledged.
    (void)sockets_->dealer.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw Error(std::string("ZeroMQ send failed: ") + error.what());
  }
}

void ZmqClient::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(sockets_->wake_descriptor, &one, sizeof one);
}

void ZmqClient::close(std::chrono::milliseconds linger) {
  // The event descriptor stays: another thread may still call wake().
  sockets_->dealer.set(zmq::sockopt::linger, static_cast<int>(linger.count()));
  sockets_->dealer.close();
  sockets_->context.close();
}

}  // namespace longrope
