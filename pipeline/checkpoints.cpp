#include "pipeline/checkpoints.h"

#include "common/sha256.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace longrope {

Checkpoints::Checkpoints(std::filesystem::path model, std::optional<std::int64_t> reached_length)
    : model_(std::move(model)), reached_length_(reached_length) {}

const std::string& Checkpoints::file_digest(const std::filesystem::path& file) {
  struct stat status = {};
  // What is not there has no identity; sha256_of_file() says so.
  const bool found = stat(file.c_str(), &status) == 0;
  const FileIdentity identity{status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec,
                              status.st_mtim.tv_nsec};
  if (const auto known = digests_.find(identity); found && known != digests_.end()) return known->second;
  return digests_.insert_or_assign(identity, sha256_of_file(file)).first->second;
}

std::string Checkpoints::digest(const std::filesystem::path& directory) {
  return model_digest(directory, [this](const std::filesystem::path& file) { return file_digest(file); });
}

std::string Checkpoints::input_digest(const std::filesystem::path& input) {
  return std::filesystem::is_directory(input) ? digest(input) : file_digest(input);
}

std::string Checkpoints::output_digest(const std::filesystem::path& output) {
  if (!std::filesystem::is_directory(output)) return file_digest(output);
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::directory_entry& entry : std::filesystem::recursive_directory_iterator(output)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  Sha256 hash;
  for (const std::filesystem::path& file : files) {
    hash.field(file.lexically_relative(output).string()).field(file_digest(file));
  }
  return hash.hex();
}

std::optional<std::int64_t> Checkpoints::reached_length(const std::filesystem::path& directory) const {
  return directory == model_ ? reached_length_ : std::nullopt;
}

const ModelDescription& Checkpoints::description(const std::filesystem::path& directory) {
  const std::string config = file_digest(directory / "config.json");
  auto& [known, model] = descriptions_[directory];
  if (known != config) {
    model = describe_model(directory, reached_length(directory));
    known = config;
  }
  return model;
}

}  // namespace longrope
