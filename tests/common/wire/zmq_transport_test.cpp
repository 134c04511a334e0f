#include "common/wire/zmq_transport.h"

#include "common/error.h"
#include "common/wire/messages.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>

namespace longrope {
namespace {

using std::chrono::milliseconds;

// How long a test waits for what must happen; reached only when it does not.
constexpr milliseconds kPatience{10000};
constexpr milliseconds kRetry{20};
constexpr const char* kAnyPort = "tcp://127.0.0.1:*";

/// Sends until the frame arrives: a client drops what it sends before it is connected.
std::optional<Frame> send_until_received(ZmqClient& client, ZmqServer& server, const std::string& bytes) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    client.send(bytes);
    if (auto frame = server.receive(kRetry)) return frame;
  }
  return std::nullopt;
}

TEST(ZmqTransportTest, FramesTravelBothWaysUnderTheClientsIncarnation) {
  ZmqServer server(kAnyPort);
  ZmqClient client(server.endpoint(), "incarnation-1");
  const auto frame = send_until_received(client, server, std::string("a\0b", 3));
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->peer, "incarnation-1");
  EXPECT_EQ(frame->bytes, std::string("a\0b", 3));
  EXPECT_TRUE(server.send(frame->peer, "answer"));
  EXPECT_EQ(client.receive(kPatience), "answer");
}

TEST(ZmqTransportTest, PortsBeyondTheirRangeAreNeitherServedNorConnectedTo) {
  EXPECT_THROW(ZmqServer("tcp://127.0.0.1:99999"), InputError);
  EXPECT_THROW(ZmqClient("tcp://127.0.0.1:99999", "worker"), InputError);
}

TEST(ZmqTransportTest, LocalhostAndIpv6AddressesAreServed) {
  for (const char* bind : {"tcp://localhost:*", "tcp://[::1]:*"}) {
    std::optional<ZmqServer> server;
    try {
      server.emplace(bind);
    } catch (const Error& error) {
      if (std::string(bind).find("::1") == std::string::npos) throw;
      GTEST_SKIP() << "NOT RUN: this machine has no IPv6: " << error.what();
    }
    ZmqClient client(server->endpoint(), "worker");
    EXPECT_TRUE(send_until_received(client, *server, "hello")) << bind;
  }
}

TEST(ZmqTransportTest, EveryClientGetsItsOwnFrames) {
  ZmqServer server(kAnyPort);
  ZmqClient first(server.endpoint(), "first");
  ZmqClient second(server.endpoint(), "second");
  ASSERT_TRUE(send_until_received(first, server, "1"));
  ASSERT_TRUE(send_until_received(second, server, "2"));
  EXPECT_TRUE(server.send("second", "for second"));
  EXPECT_TRUE(server.send("first", "for first"));
  EXPECT_EQ(first.receive(kPatience), "for first");
  EXPECT_EQ(second.receive(kPatience), "for second");
}

TEST(ZmqTransportTest, ReceiveGivesUpAtItsTimeout) {
  ZmqServer server(kAnyPort);
  ZmqClient client(server.endpoint(), "incarnation-1");
  EXPECT_EQ(client.receive(milliseconds(10)), std::nullopt);
  EXPECT_FALSE(server.receive(milliseconds(10)));
  EXPECT_FALSE(server.receive(milliseconds(0)));
}

TEST(ZmqTransportTest, SendToAnUnknownPeerIsFalse) {
  ZmqServer server(kAnyPort);
  EXPECT_FALSE(server.send("nobody", "frame"));
  EXPECT_FALSE(server.send("", "frame"));
}

TEST(ZmqTransportTest, PeerThatHasGoneBecomesUnreachable) {
  ZmqServer server(kAnyPort);
  {
    ZmqClient client(server.endpoint(), "incarnation-1");
    ASSERT_TRUE(send_until_received(client, server, "hello"));
  }
  const auto end = std::chrono::steady_clock::now() + kPatience;
  bool sent = true;
  while (sent && std::chrono::steady_clock::now() < end) {
    sent = server.send("incarnation-1", "frame");
    (void)server.receive(kRetry);  // lets ZeroMQ notice
  }
  EXPECT_FALSE(sent);
}

TEST(ZmqTransportTest, OversizedFrameIsDroppedAndTheServerLives) {
  ZmqServer server(kAnyPort);
  ZmqClient greedy(server.endpoint(), "greedy");
  ASSERT_TRUE(send_until_received(greedy, server, "small"));
  greedy.send(std::string(kMaxWorkerFrameBytes + 1, 'x'));
  ZmqClient modest(server.endpoint(), "modest");
  std::optional<Frame> frame;
  do {
    frame = send_until_received(modest, server, "still there");
    ASSERT_TRUE(frame);
    ASSERT_LE(frame->bytes.size(), kMaxWorkerFrameBytes);
  } while (frame->peer != "modest");
  EXPECT_EQ(frame->bytes, "still there");
  ASSERT_TRUE(send_until_received(greedy, server, "small again")) << "it connects again by itself";
}

TEST(ZmqTransportTest, FrameOfTheLargestSizeArrives) {
  ZmqServer server(kAnyPort);
  ZmqClient client(server.endpoint(), "incarnation-1");
  const auto frame = send_until_received(client, server, std::string(kMaxWorkerFrameBytes, 'x'));
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->bytes.size(), kMaxWorkerFrameBytes);
}

TEST(ZmqTransportTest, WakeInterruptsReceive) {
  ZmqServer server(kAnyPort);
  ZmqClient client(server.endpoint(), "incarnation-1");
  std::thread waker([&] { client.wake(); });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(client.receive(kPatience), std::nullopt);
  EXPECT_LT(std::chrono::steady_clock::now() - start, kPatience / 2);
  waker.join();
}

TEST(ZmqTransportTest, WakeBeforeReceiveIsNotLostAndCountsOnce) {
  ZmqServer server(kAnyPort);
  ZmqClient client(server.endpoint(), "incarnation-1");
  client.wake();
  client.wake();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(client.receive(kPatience), std::nullopt);
  const auto woken = std::chrono::steady_clock::now();
  EXPECT_LT(woken - start, kPatience / 2);
  constexpr milliseconds kShort{50};
  EXPECT_EQ(client.receive(kShort), std::nullopt);
  EXPECT_GE(std::chrono::steady_clock::now() - woken, kShort - milliseconds(5));
}

TEST(ZmqTransportTest, WakeAfterCloseIsHarmless) {
  ZmqServer server(kAnyPort);
  ZmqClient client(server.endpoint(), "incarnation-1");
  client.close(milliseconds(0));
  client.wake();
}

TEST(ZmqTransportTest, LastFrameLeavesWithinTheLinger) {
  ZmqServer server(kAnyPort);
  ZmqClient client(server.endpoint(), "incarnation-1");
  ASSERT_TRUE(send_until_received(client, server, "hello"));
  client.send("leaving");
  client.close(milliseconds(1000));
  std::optional<Frame> frame;
  do {
    frame = server.receive(kPatience);
  } while (frame && frame->bytes == "hello");
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->bytes, "leaving");
}

TEST(ZmqTransportTest, ClientFindsACoordinatorThatStartedAgain) {
  auto server = std::make_unique<ZmqServer>(kAnyPort);
  const std::string endpoint = server->endpoint();
  ZmqClient client(endpoint, "incarnation-1");
  ASSERT_TRUE(send_until_received(client, *server, "to the first"));
  server.reset();
  server = std::make_unique<ZmqServer>(endpoint);
  ASSERT_TRUE(send_until_received(client, *server, "to the second"));
}

TEST(ZmqTransportTest, AddressInUseIsAnErrorThatNamesIt) {
  const ZmqServer server(kAnyPort);
  try {
    const ZmqServer second(server.endpoint());
    FAIL() << "bound twice";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(server.endpoint()), std::string::npos) << error.what();
  }
}

TEST(ZmqTransportTest, EndpointThatIsNoneIsRefused) {
  EXPECT_THROW(ZmqServer("127.0.0.1:5555"), Error);
  EXPECT_THROW(ZmqClient("nonsense", "incarnation-1"), InputError);
}

}  // namespace
}  // namespace longrope
