#include "coordinator/processes/free_port.h"

#include "common/error.h"
#include "coordinator/processes/spawn.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace longrope {

std::uint16_t free_loopback_port() {
  const Descriptor descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (descriptor.value() < 0 || bind(descriptor.value(), generic, size) != 0 ||
      getsockname(descriptor.value(), generic, &size) != 0) {
    throw Error(std::string("cannot find a free port of this machine: ") + std::strerror(errno));
  }
  return ntohs(address.sin_port);
}

}  // namespace longrope
