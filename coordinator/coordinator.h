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

/// Drives the scheduler with a transport, the database and the clock: reads the frames that have come, steps the
/// scheduler, commits everything in one transaction, and only then sends acknowledgements and work. Single-threaded.
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

  /// Serves workers until the search is finished (true) or `stop` is set (false). Everything acknowledged is on disk
  /// then, and the database shows no worker as connected.
  bool serve(ServerTransport& transport, const std::atomic<bool>& stop);

  /// One round of the loop: waits at most `patience` for a frame. False when the database could not be written: the
  /// batch is kept and tried again by the next round, which reads no frame before; nothing was acknowledged.
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
  Effects waiting_;                       // of steps that were taken and not yet committed
  std::vector<std::string> unreachable_;  // peers that the last messages could not be sent to
};

}  // namespace longrope
