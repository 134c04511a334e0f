#include "coordinator/winner_file.h"

#include "common/error.h"

#include <fmt/format.h>

#include <utility>

namespace longrope {
namespace {

FactorsFile factors_file(const BestFactors& best, const ModelDescription& model, const RunInfo& run) {
  FactorsFile file;
  file.model = factors_model(model, run.model_digest);
  FactorsFile::Entry entry;
  entry.id = fmt::format("{}-{}-{}", run.name, best.stage, best.index);
  entry.target_length = best.target_length;
  entry.factors = best.factors;
  if (best.heldout_perplexity) {
    entry.fitness =
        FactorsFile::Fitness{"heldout_perplexity", *best.heldout_perplexity, "", best.heldout_documents, run.dtype};
  }
  file.entries.push_back(std::move(entry));
  return file;
}

}  // namespace

Winner winner_of_search(const std::filesystem::path& database, const std::optional<std::string>& stage,
                        const IdentifiedModel& model) {
  const StoreReader reader(database);
  std::optional<BestFactors> best = reader.best(stage);
  if (!best) throw Error("no candidate has been scored yet: " + database.string());
  const RunInfo run = reader.run();
  if (const std::string digest = model.digest(); digest != run.model_digest) {
    throw InputError("the model must be the one that was searched: digest " + run.model_digest + " in the database, " +
                     digest + " in " + model.description.directory.string());
  }
  FactorsFile file = factors_file(*best, model.description, run);
  return {std::move(*best), std::move(file)};
}

}  // namespace longrope
