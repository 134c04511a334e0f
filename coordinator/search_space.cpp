#include "coordinator/search_space.h"

#include "common/error.h"
#include "common/formats/factors_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

namespace longrope {
namespace {

// λ divides the original f_i, so the positions below n̂, which keep them, would lose what the checkpoint carries.
constexpr std::string_view kLosesScaling = "on a model that carries rope scaling, which leading positions would lose";

void require_no_leading_positions(const SearchStage& stage, const std::string& place) {
  const std::vector<std::int64_t>& choices = stage.search.n_hat_choices;
  if (std::ranges::all_of(choices, [](std::int64_t n_hat) { return n_hat == 0; })) return;
  throw InputError(fmt::format("n_hat must be 0 {}: [{}] ({})", kLosesScaling, fmt::join(choices, ", "), place));
}

/// A search extends what the checkpoint carries; a seed that falls below it, by more than rounding to the grid removes,
/// would be another one when its genome is bred.
void require_extension(const RescaleFactors& seed, const SearchSpace& space, const std::filesystem::path& file) {
  if (!space.scaling.scaled()) return;
  if (seed.n_hat != 0) {
    throw InputError(fmt::format("n_hat of a seed must be 0 {}: {} ({})", kLosesScaling, seed.n_hat, file.string()));
  }
  const std::vector<double>& own = space.scaling.beyond_original.lambda;
  for (std::size_t pair = 0; pair < own.size(); ++pair) {
    if (seed.lambda[pair] / own[pair] < 1.0 - 0.5 / space.grid.steps_per_unit) {
      throw InputError(fmt::format("lambda of a seed must be at least the model's own, {}: pair {} is {} ({})",
                                   own[pair], pair, seed.lambda[pair], file.string()));
    }
  }
}

/// What the model carries, as it is and held below the bound: a recovery begins with both, so that it never ends with
/// worse factors on its documents than the model has.
std::vector<RescaleFactors> own_seeds(const ModelDescription& model, const SearchStage& stage, double upper_bound) {
  const AttentionFactor attention{AttentionPolicy::kValue, stage.search.attention_value};
  const std::vector<double>& own = model.own_factors(stage.target_length).lambda;
  std::vector<double> bounded = own;
  for (double& factor : bounded) factor = std::clamp(factor, 1.0, upper_bound);
  return {exact_factors(own, /*n_hat=*/0, attention), exact_factors(std::move(bounded), /*n_hat=*/0, attention)};
}

/// A seed of a recovery. It gets the recovery's attention factor, which is that of the long table, whatever its own is.
RescaleFactors recovery_seed(const std::filesystem::path& file, const SearchStage& stage, std::size_t pairs) {
  const RescaleFactors seed = read_factors(file, stage.target_length);
  validate(seed, pairs, file.string());
  return exact_factors(seed.lambda, seed.n_hat, {AttentionPolicy::kValue, stage.search.attention_value});
}

/// λ of a recovery replaces the model's own, so nothing is composed (spec §5.4).
SearchSpace recovery_space(const SearchStage& stage, const ModelDescription& model, const std::string& place) {
  if (stage.search.method == SearchMethod::kAuthors) {
    throw InputError(fmt::format("method of a recovery must be longrope or random: authors ({})", place));
  }
  SearchSpace space;
  space.geometry = model.geometry;
  space.target_length = stage.target_length;
  const std::int64_t reached = model.scaling.reached_length;
  if (stage.target_length > reached) {
    throw InputError(
        fmt::format("target_length of a recovery must be within the {} tokens that the model reaches: {} ({})", reached,
                    stage.target_length, place));
  }
  const double ratio = static_cast<double>(stage.target_length) / static_cast<double>(model.geometry.original_length);
  SearchConfig search = stage.search;
  // The amount is not published; this fits the authors' arrays (spec §5.4).
  if (!search.upper_bound && !search.upper_bound_one_plus_ratio) search.upper_bound = 1.0 + std::max(2.0, ratio);
  space.grid = search_grid(search, ratio);
  space.n_hat_choices = search.n_hat_choices;
  space.attention_policies = search.attention_policies;
  space.published_seeds = own_seeds(model, stage, space.grid.upper_bound);
  for (const std::filesystem::path& file : stage.search.seed_files) {
    space.published_seeds.push_back(recovery_seed(file, stage, model.geometry.pairs()));
  }
  return space;
}

SearchSpace extension_space(const SearchStage& stage, const ModelDescription& model, const std::string& place) {
  SearchSpace space;
  space.geometry = model.geometry;
  space.scaling = model.scaling;
  space.target_length = stage.target_length;
  const std::int64_t reached = space.reached_length();
  if (stage.target_length <= reached) {
    const std::int64_t original = model.geometry.original_length;
    throw InputError(fmt::format("target_length must exceed the model's {} tokens{}: {} ({})", reached,
                                 reached == original ? "" : fmt::format(" ({} before its rope scaling)", original),
                                 stage.target_length, place));
  }
  space.grid = search_grid(stage.search, static_cast<double>(stage.target_length) / static_cast<double>(reached));
  space.n_hat_choices = stage.search.n_hat_choices;
  if (model.scaling.scaled()) require_no_leading_positions(stage, place);
  space.attention_policies = stage.search.attention_policies;
  for (const std::filesystem::path& file : stage.search.seed_files) {
    RescaleFactors seed = read_factors(file, stage.target_length);
    validate(seed, model.geometry.pairs(), file.string());
    require_extension(seed, space, file);
    space.published_seeds.push_back(std::move(seed));
  }
  return space;
}

SearchSpace unchecked_space(const SearchStage& stage, const ModelDescription& model, const std::string& place) {
  return stage.recovery ? recovery_space(stage, model, place) : extension_space(stage, model, place);
}

/// Makes the stage's algorithm and throws it away: its constructor checks all that it is given.
void require_algorithm(const SearchStage& stage, const SearchSpace& space, const std::string& place) {
  try {
    // Documents and their passes are counted once they are read (prepare_search()).
    constexpr SearchResources kEnough{.documents = 1'000, .passes = 1e6};
    (void)make_search_algorithm(stage.search, space, kEnough, /*seed=*/0, stage.name);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} ({})", error.what(), place));
  }
}

/// A checkpoint trained from `model` that reaches `length` tokens, as far as checks need it. Its factors are not known
/// yet; an extension is measured from what it reaches, as from a model that was trained at that length.
ModelDescription expected_checkpoint(ModelDescription model, std::int64_t length, bool extended) {
  model.scaling.reached_length = length;
  if (extended) {
    model.scaling.type = RopeScaling{}.type;
    model.geometry.original_length = length;
  }
  return model;
}

}  // namespace

SearchSpace search_space(const SearchStage& stage, const ModelDescription& model, const std::string& place) {
  SearchSpace space = unchecked_space(stage, model, place);
  require_algorithm(stage, space, place);
  return space;
}

void require_search_possible(const SearchStage& stage, const ModelDescription& model, std::int64_t reached_length,
                             const std::string& place) {
  const bool is_model_itself = reached_length == model.scaling.reached_length;
  if (!is_model_itself && !stage.recovery) require_no_leading_positions(stage, place);
  SearchStage expected = stage;
  if (stage.recovery) {
    expected.search.attention_policies = {AttentionPolicy::kValue};  // the long table's, when it is there
  }
  const ModelDescription checkpoint =
      is_model_itself ? model : expected_checkpoint(model, reached_length, /*extended=*/!stage.recovery);
  SearchSpace space = unchecked_space(expected, checkpoint, place);
  // In place of the winners to come: what the checkpoint carries fits whatever the space is.
  const std::vector<double> ones(space.geometry.pairs(), 1.0);
  const std::vector<double>& carried = space.scaling.scaled() ? space.scaling.beyond_original.lambda : ones;
  space.published_seeds.insert(space.published_seeds.end(), stage.seed_stages.size(),
                               exact_factors(carried, /*n_hat=*/0, {}));
  require_algorithm(expected, space, place);
}

}  // namespace longrope
