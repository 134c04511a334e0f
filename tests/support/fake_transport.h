#pragma once

#include "common/wire/messages.h"
#include "common/wire/transport.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

/// A network in memory: the test puts frames in and looks at what was sent. Never waits.
class FakeTransport final : public ServerTransport {
 public:
  [[nodiscard]] std::optional<Frame> receive(std::chrono::milliseconds timeout) override {
    longest_wait = std::max(longest_wait, timeout);
    if (incoming_.empty()) return std::nullopt;
    Frame frame = std::move(incoming_.front());
    incoming_.pop_front();
    return frame;
  }
  bool send(std::string_view peer, std::string_view bytes) override {
    if (on_send) on_send(decode_coordinator_message(bytes));
    if (gone.contains(std::string(peer))) return false;
    sent.emplace_back(std::string(peer), decode_coordinator_message(bytes));
    return true;
  }

  void deliver(const std::string& peer, const WorkerMessage& message) { incoming_.push_back({peer, encode(message)}); }
  void deliver_bytes(const std::string& peer, std::string bytes) { incoming_.push_back({peer, std::move(bytes)}); }
  [[nodiscard]] std::size_t waiting() const { return incoming_.size(); }

  template <class M>
  [[nodiscard]] std::vector<M> sent_to(const std::string& peer) const {
    std::vector<M> found;
    for (const auto& [to, message] : sent) {
      const auto* m = std::get_if<M>(&message);
      if (to == peer && m != nullptr) found.push_back(*m);
    }
    return found;
  }

  std::function<void(const CoordinatorMessage&)> on_send;
  std::set<std::string> gone;
  std::chrono::milliseconds longest_wait{0};  // that receive() was given
  std::vector<std::pair<std::string, CoordinatorMessage>> sent;

 private:
  std::deque<Frame> incoming_;
};

}  // namespace longrope
