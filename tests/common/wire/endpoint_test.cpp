#include "common/wire/endpoint.h"

#include "common/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace longrope {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr EndpointUse kBind = EndpointUse::kBind;
constexpr EndpointUse kConnect = EndpointUse::kConnect;

std::string refusal_of(std::string_view text, EndpointUse use) {
  try {
    return "taken as " + checked_endpoint(text, use, use == kBind ? "--bind" : "--connect");
  } catch (const InputError& error) {
    return error.what();
  }
}

TEST(EndpointTest, AddressesNamesAndWildcardsPassUnchanged) {
  for (const std::string text :
       {"tcp://127.0.0.1:5555", "tcp://0.0.0.0:1", "tcp://*:65535", "tcp://[::1]:5555", "tcp://[fe80::1%lo]:5555",
        "tcp://127.0.0.1:*", "tcp://lo:5555", "ipc:///tmp/search"}) {
    EXPECT_EQ(checked_endpoint(text, kBind), text);
  }
  for (const std::string text : {"tcp://127.0.0.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555",
                                 "ipc:///tmp/search", "tcp://gpu-node_3.example.org:5555"}) {
    EXPECT_EQ(checked_endpoint(text, kConnect), text);
  }
}

TEST(EndpointTest, LocalhostIsBoundByItsAddress) {
  EXPECT_EQ(checked_endpoint("tcp://localhost:5555", kBind), "tcp://127.0.0.1:5555");
}

TEST(EndpointTest, PortOutsideItsRangeIsRefusedInsteadOfTakenModulo) {
  for (const auto use : {kBind, kConnect}) {
    for (const char* port : {"99999", "65536", "0", "-1", "+5", "5555/", " 5555", "", "0x15", "18446744073709557171"}) {
      const std::string endpoint = std::string("tcp://127.0.0.1:") + port;
      EXPECT_THAT(refusal_of(endpoint, use),
                  AllOf(HasSubstr("the port of an endpoint must be 1 to 65535"), HasSubstr(": " + endpoint + " (--")));
    }
  }
  EXPECT_EQ(refusal_of("tcp://127.0.0.1:99999", kBind),
            "the port of an endpoint must be 1 to 65535, or * for a free one: tcp://127.0.0.1:99999 (--bind)");
  EXPECT_EQ(refusal_of("tcp://127.0.0.1:*", kConnect),
            "the port of an endpoint must be 1 to 65535: tcp://127.0.0.1:* (--connect)");
}

TEST(EndpointTest, RefusalSaysWhatToWrite) {
  EXPECT_EQ(refusal_of("127.0.0.1:5555", kConnect),
            "an endpoint must begin with tcp:// (or ipc://, within one machine): 127.0.0.1:5555, write "
            "tcp://127.0.0.1:5555 (--connect)");
  EXPECT_THAT(refusal_of("localhost:5555", kBind), HasSubstr("write tcp://localhost:5555 (--bind)"));
  EXPECT_THAT(refusal_of("tcp://node", kConnect),
              HasSubstr("must end with a port: tcp://node, write tcp://node:5555 (--connect)"));
  EXPECT_THAT(refusal_of("tcp://[::1]", kConnect), HasSubstr("write tcp://[::1]:5555"));
  EXPECT_THAT(refusal_of("tcp://::1:5555", kBind),
              HasSubstr("must stand in brackets: tcp://::1:5555, write tcp://[::1]:5555"));
  EXPECT_THAT(refusal_of("tcp://*:5555", kConnect), HasSubstr("write tcp://HOST:5555"));
  EXPECT_THAT(
      refusal_of("tcp://no-such-interface:5555", kBind),
      AllOf(HasSubstr("must be an address or a network interface of this machine"), HasSubstr("tcp://*:5555 for all")));
}

TEST(EndpointTest, MalformedHostsAreRefused) {
  for (const auto use : {kBind, kConnect}) {
    for (const char* text : {"", "tcp", "tcp://", "tcp://:5555", "tcp://127.0.0.256:5555", "tcp://127.1:5555",
                             "tcp://[::1:5555", "tcp://[host]:5555", "tcp://a b:5555", "tcp://a/b:5555", "ipc://",
                             "inproc://search", "udp://127.0.0.1:5555", "http://127.0.0.1:5555"}) {
      EXPECT_THAT(refusal_of(text, use), AllOf(HasSubstr("must"), Not(HasSubstr("taken as")))) << text;
    }
  }
}

TEST(EndpointTest, OnlyAddressesOfThisMachineAreLoopback) {
  for (const char* endpoint : {"tcp://127.0.0.1:5555", "tcp://127.1.2.3:*", "tcp://localhost:5555", "tcp://[::1]:5555",
                               "ipc:///tmp/search.sock", "inproc://search"}) {
    EXPECT_TRUE(is_loopback(endpoint)) << endpoint;
  }
  for (const char* endpoint :
       {"tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://10.0.0.1:5555", "tcp://[::]:5555", "tcp://127.example.org:5555",
        "tcp://localhost.example.org:5555", "tcp://eth0:5555", "tcp://1127.0.0.1:5555", "udp://127.0.0.1:5555",
        "127.0.0.1:5555", "", "tcp://", "tcp://:5555"}) {
    EXPECT_FALSE(is_loopback(endpoint)) << endpoint;
  }
}

TEST(EndpointTest, WorkersWriteTheHostInsteadOfAllInterfaces) {
  EXPECT_EQ(endpoint_for_workers("tcp://0.0.0.0:5555"), "tcp://HOST:5555");
  EXPECT_EQ(endpoint_for_workers("tcp://[::]:5555"), "tcp://HOST:5555");
  EXPECT_EQ(endpoint_for_workers("tcp://127.0.0.1:5555"), "tcp://127.0.0.1:5555");
}

TEST(EndpointTest, UnknownHostIsNamedAndAddressesAreKnown) {
  // The name is longer than a label may be: refused by every resolver without asking the network.
  const std::string name(64, 'x');
  EXPECT_EQ(why_unresolved("tcp://" + name + ":5555"), "unknown host: " + name);
  for (const char* endpoint :
       {"tcp://127.0.0.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555", "ipc:///tmp/search"}) {
    EXPECT_EQ(why_unresolved(endpoint), "") << endpoint;
  }
}

}  // namespace
}  // namespace longrope
