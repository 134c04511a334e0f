#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace longrope {

/// One frame and the peer it came from. `peer` is the transport's name for a connection, not the worker's id.
struct Frame {
  std::string peer;
  std::string bytes;
};

/// The coordinator's side: many peers. Not thread-safe.
class ServerTransport {
 public:
  virtual ~ServerTransport() = default;
  /// The next frame, waiting at most `timeout`; nullopt when none came or a signal arrived.
  [[nodiscard]] virtual std::optional<Frame> receive(std::chrono::milliseconds timeout) = 0;
  /// False when the peer is gone or its queue is full: the frame is dropped.
  virtual bool send(std::string_view peer, std::string_view bytes) = 0;
};

/// The worker's side: one coordinator, to which it reconnects by itself however long that takes. Not thread-safe.
class ClientTransport {
 public:
  virtual ~ClientTransport() = default;
  /// As ServerTransport::receive().
  [[nodiscard]] virtual std::optional<std::string> receive(std::chrono::milliseconds timeout) = 0;
  /// Never waits. The frame may be lost, without notice, while there is no connection.
  virtual void send(std::string_view bytes) = 0;
};

}  // namespace longrope
