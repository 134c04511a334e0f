#pragma once

#include "common/wire/transport.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace longrope {

/// A ROUTER bound to `endpoint` ("tcp://127.0.0.1:*" picks a free port), dropping frames over kMaxWorkerFrameBytes.
/// Throws InputError as checked_endpoint(), Error when it cannot bind.
class ZmqServer final : public ServerTransport {
 public:
  explicit ZmqServer(const std::string& endpoint);
  ~ZmqServer() override;
  [[nodiscard]] std::string endpoint() const;  // with the port that was picked
  [[nodiscard]] std::optional<Frame> receive(std::chrono::milliseconds timeout) override;
  bool send(std::string_view peer, std::string_view bytes) override;

 private:
  struct Sockets;
  std::unique_ptr<Sockets> sockets_;
};

/// A DEALER with the routing id `incarnation`, connected to `endpoint`. Also wakes on `wake()`, the one thread-safe
/// call. Throws InputError as checked_endpoint().
class ZmqClient final : public ClientTransport {
 public:
  ZmqClient(const std::string& endpoint, const std::string& incarnation);
  ~ZmqClient() override;
  [[nodiscard]] std::optional<std::string> receive(std::chrono::milliseconds timeout) override;
  void send(std::string_view bytes) override;
  /// Makes a waiting receive() return at once; for the compute thread.
  void wake();
  /// Gives queued frames up to `linger` to leave, then closes; only wake() may be called afterwards.
  void close(std::chrono::milliseconds linger);

 private:
  struct Sockets;
  std::unique_ptr<Sockets> sockets_;
};

}  // namespace longrope
