#pragma once

#include <filesystem>

namespace longrope {

/// Makes one process the only writer of a database: an flock on `FILE.lock`, which holds the owner's process id for the
/// message to others. A symbolic link to the database has the lock of the file it leads to. The kernel releases the
/// lock when the process dies; the file itself stays, because removing it would let two processes lock two different
/// files of the same name.
class WriterLock {
 public:
  /// Throws InputError when another Store holds it, in this process or another; Error when the file cannot be created.
  explicit WriterLock(const std::filesystem::path& database);
  ~WriterLock();
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace longrope
