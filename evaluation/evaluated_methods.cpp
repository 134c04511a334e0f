#include "evaluation/evaluated_methods.h"

#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/formats/named_factors.h"

#include <fmt/format.h>

#include <algorithm>

namespace longrope {

std::vector<EvaluatedMethod> evaluated_methods(const std::vector<std::string>& factor_files) {
  std::vector<EvaluatedMethod> methods;
  for (const char* const name : {"base", "pi", "ntk", "yarn", "dynamic_ntk"}) methods.push_back({name, {}});
  for (const std::string& path : factor_files) {
    const std::filesystem::path file(path);
    const std::string name = file.stem().string();
    if (std::ranges::any_of(methods, [&](const EvaluatedMethod& method) { return method.name == name; })) {
      throw InputError(
          fmt::format("names of methods must differ, and a factors file is called by its name without the ending: "
                      "{} ({}, --factors)",
                      name, path));
    }
    methods.push_back({name, file});
  }
  return methods;
}

RescaleFactors factors_of(const EvaluatedMethod& method, const ModelDescription& model, std::int64_t longest_context,
                          std::int64_t context) {
  if (!method.file.empty()) {
    RescaleFactors factors = read_factors(method.file, context);
    validate(factors, model.geometry.pairs(), method.file.string());
    return factors;
  }
  if (method.name == "dynamic_ntk") {
    const double factor = static_cast<double>(longest_context) / static_cast<double>(model.scaling.reached_length);
    return extended_dynamic_ntk(model.geometry, model.scaling, std::max(1.0, factor), context);
  }
  return named_factors(method.name == "base" ? "none" : method.name, /*attention_factor=*/"", model, context);
}

}  // namespace longrope
