#pragma once

#include <string>
#include <string_view>

namespace longrope {

/// What an endpoint is for: a coordinator serves at it, or a worker connects to it.
enum class EndpointUse { kBind, kConnect };

/// `text` in the form that ZeroMQ takes: "tcp://HOST:PORT" or "ipc://PATH". HOST is an IPv4 address, an IPv6 address in
/// brackets or a name: to bind, a network interface, "localhost" (which becomes 127.0.0.1) or "*", all interfaces; to
/// connect, a host, which need not be known yet. PORT is 1 to 65535, or to bind "*", a free one. Throws InputError with
/// the rule, the endpoint and, where it can be told, what to write instead; ZeroMQ itself takes a port modulo 65536 and
/// calls most other faults "Invalid argument". `place` says where the text was given, as in "--bind"; empty: nowhere.
[[nodiscard]] std::string checked_endpoint(std::string_view text, EndpointUse use, std::string_view place = "");

/// Whether only this machine can reach `endpoint`: tcp on 127.0.0.0/8, [::1] or localhost, ipc or inproc.
[[nodiscard]] bool is_loopback(std::string_view endpoint);

/// What workers of other machines write to reach `bound`, where a coordinator serves: all interfaces become "HOST".
[[nodiscard]] std::string endpoint_for_workers(std::string_view bound);

/// Whether the host of a checked endpoint is an IPv6 address; ZeroMQ has to be told.
[[nodiscard]] bool is_ipv6(std::string_view endpoint);

/// "unknown host: NAME" when the host of a checked endpoint is a name that has no IPv4 address now, or cannot be looked
/// up; otherwise empty. Asks the resolver, which may take seconds.
[[nodiscard]] std::string why_unresolved(std::string_view endpoint);

}  // namespace longrope
