#include "coordinator/coordinator.h"

#include "common/error.h"
#include "common/wire/messages.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

namespace longrope {
namespace {

constexpr int kMaxFramesPerBatch = 256;  // bounds a transaction, so that acknowledgements do not wait for a flood
constexpr std::chrono::milliseconds kPatience{250};  // how soon a stop request is noticed
constexpr std::chrono::milliseconds kRetryCommit{1000};

}  // namespace

Coordinator::Coordinator(PreparedSearch prepared, const std::filesystem::path& database, Reports reports)
    : documents_(std::move(prepared.documents)),
      store_(database, prepared.run),
      scheduler_(std::move(prepared.plan), store_.load(), read_clocks()),
      reports_(std::move(reports)) {}

bool Coordinator::serve(ServerTransport& transport, const std::atomic<bool>& stop) {
  // The batch in which the search finishes is committed and its dismissals sent before this returns.
  while (!stop && !(finished() && waiting_.writes.empty())) {
    if (!serve_once(transport, kPatience)) std::this_thread::sleep_for(kRetryCommit);
    reports_.progress(scheduler_.progress());
  }
  if (finished()) return true;
  apply(scheduler_.stop());
  (void)commit();  // a failure was reported; there is no next round to try again
  return false;
}

bool Coordinator::serve_once(ServerTransport& transport, std::chrono::milliseconds patience) {
  if (waiting_.writes.empty()) {
    const std::vector<std::string> unreachable = std::exchange(unreachable_, {});
    for (const std::string& peer : unreachable) apply(scheduler_.step(PeerUnreachable{peer}, read_clocks()));
    // What these workers held is given to others without waiting for a frame.
    if (!unreachable.empty()) patience = std::chrono::milliseconds(0);
    auto frame = transport.receive(std::min(patience, scheduler_.next_deadline(read_clocks())));
    for (int taken = 0; frame && taken < kMaxFramesPerBatch; ++taken) {
      take(*frame, transport, read_clocks());
      frame = transport.receive(std::chrono::milliseconds(0));
    }
    if (frame) take(*frame, transport, read_clocks());
    apply(scheduler_.step(TimePassed{}, read_clocks()));
  }
  if (!commit()) return false;
  send(transport);
  return true;
}

void Coordinator::take(const Frame& frame, ServerTransport& transport, const Now& now) {
  std::optional<WorkerMessage> message;
  try {
    message = decode_worker_message(frame.bytes);
    if (const auto* request = std::get_if<NeedDocument>(&*message)) {
      // Documents are no state of the search: nothing to commit first.
      const auto found = documents_.find(request->digest);
      if (found == documents_.end()) {
        throw InputError("message refused: no document of this search: " + request->digest);
      }
      transport.send(frame.peer, encode(CoordinatorMessage(DocumentData{found->first, found->second})));
    }
  } catch (const InputError& error) {
    reports_.warning(error.what());
    return;
  }
  // Outside of the try block: an error of the step is no fault of the frame, and its rows must not be dropped silently.
  apply(scheduler_.step(WorkerSaid{frame.peer, *std::move(message)}, now));
}

void Coordinator::apply(Effects effects) {
  std::ranges::move(effects.writes, std::back_inserter(waiting_.writes));
  std::ranges::move(effects.messages, std::back_inserter(waiting_.messages));
}

bool Coordinator::commit() {
  if (waiting_.writes.empty()) return true;
  try {
    store_.apply(waiting_.writes);
  } catch (const InputError&) {
    throw;
  } catch (const Error& error) {
    reports_.warning(std::string(error.what()) + "; nothing is acknowledged until it can be written");
    return false;
  }
  waiting_.writes.clear();
  return true;
}

void Coordinator::send(ServerTransport& transport) {
  for (const Outgoing& outgoing : waiting_.messages) {
    if (outgoing.peer.empty()) continue;  // a worker restored from the database, not heard of yet
    if (!transport.send(outgoing.peer, encode(outgoing.message))) unreachable_.push_back(outgoing.peer);
  }
  waiting_.messages.clear();
}

}  // namespace longrope
