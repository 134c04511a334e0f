#include "coordinator/processes/worker_program.h"

#include "common/error.h"

namespace longrope {

std::filesystem::path worker_program() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path program = self.parent_path() / "longrope-worker";
  if (error || !std::filesystem::exists(program)) {
    throw Error("scoring needs the program longrope-worker beside longrope (built with LONGROPE_BUILD_WORKER=ON): no " +
                program.string());
  }
  return program;
}

}  // namespace longrope
