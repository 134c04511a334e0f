#include "common/wire/endpoint.h"

#include "common/error.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>

#include <netdb.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <system_error>

namespace longrope {
namespace {

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kIpc = "ipc://";
constexpr std::string_view kDigitsAndDots = "0123456789.";

/// HOST and PORT of a text without "tcp://", as far as they can be told apart.
struct HostAndPort {
  std::string_view host;
  std::optional<std::string_view> port;
};

HostAndPort split(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  // A colon within brackets belongs to an IPv6 address.
  if (colon == std::string_view::npos || address.find(']', colon) != std::string_view::npos) {
    return {address, std::nullopt};
  }
  return {address.substr(0, colon), address.substr(colon + 1)};
}

bool is_address(int family, const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  return inet_pton(family, text.c_str(), bytes.data()) == 1;
}

bool is_name(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  return !text.empty() && text.find_first_not_of(kLetters) == std::string_view::npos;
}

/// Refuses one endpoint: every refusal names it and its place.
struct Refusal {
  std::string_view text;
  std::string_view place;

  [[noreturn]] void say(std::string_view rule, std::string_view instead = "") const {
    throw InputError(fmt::format("{}: {}{}{}", rule, text, instead.empty() ? "" : fmt::format(", write {}", instead),
                                 place.empty() ? "" : fmt::format(" ({})", place)));
  }
};

void require_port(std::string_view port, EndpointUse use, const Refusal& refusal) {
  if (use == EndpointUse::kBind && port == "*") return;
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error == std::errc() && end == port.data() + port.size() && number >= 1 && number <= 65535) return;
  refusal.say(use == EndpointUse::kBind ? "the port of an endpoint must be 1 to 65535, or * for a free one"
                                        : "the port of an endpoint must be 1 to 65535");
}

void require_ipv6_host(std::string_view host, const Refusal& refusal) {
  const std::string_view address = host.substr(1, host.size() - 2);
  const std::string without_interface(address.substr(0, address.find('%')));
  if (!host.ends_with(']') || !is_address(AF_INET6, without_interface)) {
    refusal.say("brackets in an endpoint must hold an IPv6 address", "tcp://[ADDRESS]:PORT");
  }
}

/// The host in ZeroMQ's words.
std::string checked_host(std::string_view host, std::string_view port, EndpointUse use, const Refusal& refusal) {
  if (host.starts_with('[')) {
    require_ipv6_host(host, refusal);
    return std::string(host);
  }
  std::string name(host);
  if (is_address(AF_INET6, name)) {
    refusal.say("an IPv6 address in an endpoint must stand in brackets", fmt::format("tcp://[{}]:{}", host, port));
  }
  if (host == "*") {
    if (use == EndpointUse::kBind) return name;
    refusal.say("an endpoint to connect to must name the host of the coordinator", fmt::format("tcp://HOST:{}", port));
  }
  if (!is_name(host)) refusal.say("the host of an endpoint must be an address or a name", "tcp://HOST:PORT");
  if (host.find_first_not_of(kDigitsAndDots) == std::string_view::npos) {
    if (!is_address(AF_INET, name)) refusal.say("an IPv4 address must be four numbers from 0 to 255");
    return name;
  }
  if (use == EndpointUse::kConnect) return name;
  if (host == "localhost") return "127.0.0.1";  // ZeroMQ looks no names up to bind
  if (if_nametoindex(name.c_str()) == 0) {
    refusal.say("an endpoint to bind must be an address or a network interface of this machine",
                fmt::format("its address, or tcp://*:{} for all", port));
  }
  return name;
}

}  // namespace

std::string checked_endpoint(std::string_view text, EndpointUse use, std::string_view place) {
  const Refusal refusal{text, place};
  if (text.starts_with(kIpc) && text.size() > kIpc.size()) return std::string(text);
  if (!text.starts_with(kTcp)) {
    const bool other_scheme = text.find("://") != std::string_view::npos;
    const bool complete = !other_scheme && split(text).port && is_name(split(text).host);
    refusal.say("an endpoint must begin with tcp:// (or ipc://, within one machine)",
                complete ? fmt::format("tcp://{}", text) : std::string("tcp://HOST:PORT"));
  }
  const auto [host, port] = split(text.substr(kTcp.size()));
  if (!port) {
    refusal.say("an endpoint must end with a port", host.empty() ? "tcp://HOST:PORT" : fmt::format("{}:5555", text));
  }
  require_port(*port, use, refusal);
  return fmt::format("{}{}:{}", kTcp, checked_host(host, *port, use, refusal), *port);
}

bool is_loopback(std::string_view endpoint) {
  if (endpoint.starts_with(kIpc) || endpoint.starts_with("inproc://")) return true;
  if (!endpoint.starts_with(kTcp)) return false;
  const std::string_view address = endpoint.substr(kTcp.size());
  const std::string_view host = address.substr(0, address.rfind(':'));
  if (host == "localhost" || host == "[::1]") return true;
  // A name such as 127.example.org must not pass for an address: digits and dots only.
  return host.starts_with("127.") && host.find_first_not_of(kDigitsAndDots) == std::string_view::npos;
}

std::string endpoint_for_workers(std::string_view bound) {
  for (const std::string_view all : {"tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"}) {
    if (bound.starts_with(all)) return fmt::format("tcp://HOST:{}", bound.substr(all.size()));
  }
  return std::string(bound);
}

bool is_ipv6(std::string_view endpoint) { return endpoint.starts_with("tcp://["); }

std::string why_unresolved(std::string_view endpoint) {
  if (!endpoint.starts_with(kTcp) || is_ipv6(endpoint)) return "";
  const std::string host(split(endpoint.substr(kTcp.size())).host);
  addrinfo wanted{};
  wanted.ai_family = AF_INET;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &wanted, &found) != 0) return fmt::format("unknown host: {}", host);
  freeaddrinfo(found);
  return "";
}

}  // namespace longrope
