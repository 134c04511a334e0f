#pragma once

#include "common/wire/transport.h"
#include "config/config.h"
#include "coordinator/core/scheduler.h"
#include "coordinator/prepare_search.h"
#include "coordinator/store/store.h"

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace longrope {

/// Drives the scheduler with a transport, the database and the clock: drain the socket, step, commit everything in one
/// transaction, and only then send acknowledgements and work. Single-threaded.
class Coordinator {
 public:
  struct Reports {
    std::function<void(const SearchProgress&)> progress;  // after every batch
    std::function<void(const std::string&)> warning;      // refused frames, a full disk …
  };

  /// Opens the database (and continues what it holds). Throws InputError, Error as prepare_search and Store do.
  Coordinator(PreparedSearch prepared, const std::filesystem::path& database, Reports reports);

  [[nodiscard]] bool finished() const { return scheduler_.finished(); }
  [[nodiscard]] SearchProgress progress() const { return scheduler_.progress(); }

  /// Serves workers until the search is finished (true) or `stop` is set (false). Everything acknowledged is on disk,
  /// and nobody is connected there.
  bool serve(ServerTransport& transport, const std::atomic<bool>& stop);

  /// One round of the loop: waits at most `patience` for a frame. False when the database refused the batch: it is kept
  /// and tried again by the next round, nothing was acknowledged, no frame was read.
  bool serve_once(ServerTransport& transport, std::chrono::milliseconds patience);

 private:
  void take(const Frame& frame, ServerTransport& transport, const Now& now);
  void apply(Effects effects);
  bool commit();
  void send(ServerTransport& transport);

  std::map<std::string, Document> documents_;
  Store store_;
  Scheduler scheduler_;
  Reports reports_;
  Effects waiting_;  // stepped, not yet committed
  std::vector<std::string> unreachable_;
};

}  // namespace longrope
