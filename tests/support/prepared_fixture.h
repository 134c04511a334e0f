#pragma once

#include "common/documents/documents.h"
#include "config/config.h"
#include "coordinator/prepare_search.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

/// A folder for files that are written durably: their syncs, some fifty in one run of a pipeline, take no time in
/// memory and most of a second on a busy disk.
inline std::filesystem::path folder_in_memory() {
  constexpr const char* kSharedMemory = "/dev/shm";
  return access(kSharedMemory, W_OK) == 0 ? kSharedMemory : testing::TempDir();
}

/// A fresh directory in `parent` for the running test.
inline std::filesystem::path fresh_directory(const std::filesystem::path& parent = testing::TempDir()) {
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  std::filesystem::path directory = parent / (std::string("longrope-") + test.test_suite_name() + "-" + test.name());
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  return directory;
}

inline constexpr std::int64_t kPreparedLength = 600;  // the bundled model was trained at 512

/// Tokens below 256; documents of two first tokens have no text in common.
inline Document document_of(const std::string& name, std::int32_t first_token, std::int64_t length = kPreparedLength) {
  Document document;
  document.name = name;
  auto state = static_cast<std::uint32_t>(first_token);
  std::generate_n(std::back_inserter(document.tokens), length, [&] {
    state = state * 1664525U + 1013904223U;
    return static_cast<std::int32_t>(state >> 24U);
  });
  document.tokens.front() = first_token;
  return document;
}

inline void write_to(const std::filesystem::path& file, std::vector<Document> documents) {
  write_documents({std::move(documents), "byte-level", ""}, file);
}

/// With the model that the configuration names.
inline PreparedSearch prepare_search(const Config& config) {
  return prepare_search(config, identify_model(config.model, config.reached_length));
}

/// The search that is a stage.
inline SearchStage& search_of(PipelineStage& stage) { return std::get<SearchStage>(stage.work); }

/// The smallest search there is over the bundled model, with its documents in `directory`.
inline Config small_config(const std::filesystem::path& directory) {
  Config config;
  config.file = directory / "search.toml";
  config.text = "# written by a test\n";
  config.name = "small";
  config.seed = 3;
  config.model = std::filesystem::path(LONGROPE_SOURCE_DIR) / "models" / "byte-llama";
  SearchStage stage;
  stage.name = "600";
  stage.target_length = kPreparedLength;
  stage.search_documents = directory / "search.safetensors";
  stage.heldout_documents = directory / "heldout.safetensors";
  stage.finalists = 2;
  stage.search.population_size = 3;
  stage.search.num_mutations = 1;
  stage.search.num_crossovers = 0;
  stage.search.num_iterations = 1;
  stage.search.num_parents = 2;
  config.stages.push_back({.name = stage.name, .work = stage});
  write_to(stage.search_documents, {document_of("a", 1), document_of("b", 2)});
  write_to(stage.heldout_documents, {document_of("c", 3)});
  return config;
}

}  // namespace longrope
