#include "common/model/model_directory.h"

#include "common/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// A component of a name on Hugging Face, which "." and ".." are not.
bool may_be_name(const std::string& component) {
  const auto allowed = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
           letter == '.' || letter == '_' || letter == '-';
  };
  return !component.empty() && component.front() != '.' && std::ranges::all_of(component, allowed);
}

/// ORG/NAME, where a path that does not exist may be meant as a name on Hugging Face: two components, or, because paths
/// in a configuration are relative to its folder, two more below a folder that exists.
std::optional<std::string> hugging_face_name(const fs::path& path) {
  const fs::path organisation = path.parent_path();
  const fs::path folder = organisation.parent_path();
  const bool two_components = path.is_relative() && folder.empty();
  const bool below_folder = folder != path.root_path() && !is_there(organisation) && is_there(folder);
  const std::string name = path.filename().native();
  if (!(two_components || below_folder) || !may_be_name(organisation.filename().native()) || !may_be_name(name)) {
    return std::nullopt;
  }
  return fmt::format("{}/{}", organisation.filename().native(), name);
}

bool holds_adapter(const fs::path& directory) {
  return std::ranges::any_of(
      std::vector<const char*>{"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"},
      [&](const char* name) { return is_there(directory / name); });
}

[[noreturn]] void refuse_adapter(const fs::path& directory) {
  throw InputError(
      fmt::format("a model must have all its weights: this is an adapter alone; merge the adapter with peft, "
                  "AutoPeftModelForCausalLM.from_pretrained(\"{0}\").merge_and_unload().save_pretrained(\"DIR\") ({0})",
                  directory.native()));
}

/// Names of the files in `directory` that end in `ending`, in their order.
std::vector<std::string> files_with(const fs::path& directory, const char* ending) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().extension() == ending) names.push_back(entry->path().filename().native());
  }
  std::ranges::sort(names);
  return names;
}

/// "", or what lies where the weights should be, and how it becomes a checkpoint.
std::string found_instead(const fs::path& directory) {
  if (const auto names = files_with(directory, ".bin"); !names.empty()) {
    return fmt::format(
        "; there is only {}: convert it to safetensors with transformers, "
        "AutoModelForCausalLM.from_pretrained(\"{}\", dtype=\"auto\").save_pretrained(\"DIR\"), and copy the tokenizer",
        fmt::join(names, ", "), directory.native());
  }
  if (const auto names = files_with(directory, ".gguf"); !names.empty()) {
    return fmt::format("; there is only {}: take the Hugging Face checkpoint that it was made from",
                       fmt::join(names, ", "));
  }
  return "";
}

}  // namespace

void require_model_directory(const fs::path& directory) {
  std::error_code error;
  if (!is_there(directory)) {
    const auto name = hugging_face_name(directory);
    const std::string help = name ? fmt::format(
                                        "; if {0} is a name on Hugging Face, download it: hf download {0} "
                                        "--local-dir DIR",
                                        *name)
                                  : "";
    throw InputError(fmt::format("a model must be a directory: there is no {}{}", directory.native(), help));
  }
  if (!fs::is_directory(directory, error)) {
    throw InputError(fmt::format("a model must be a directory: {} is none", directory.native()));
  }
  if (is_there(directory / "config.json")) return;
  if (holds_adapter(directory)) refuse_adapter(directory);
  throw InputError(fmt::format("a model directory must hold config.json: there is none{} ({})",
                               found_instead(directory), directory.native()));
}

void refuse_missing_weights(const fs::path& directory, const fs::path& missing) {
  if (holds_adapter(directory)) refuse_adapter(directory);
  throw InputError(fmt::format("a weight file must exist: {}{}", missing.native(), found_instead(directory)));
}

}  // namespace longrope
