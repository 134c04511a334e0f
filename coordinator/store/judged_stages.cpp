#include "coordinator/store/judged_stages.h"

#include "coordinator/store/row_reader.h"

#include <string>
#include <utility>

namespace longrope {
namespace {

/// Finished stages with a winner, without documents and methods.
std::vector<JudgedStage> finished_stages(const SQLite::Database& database) {
  RowReader row(database,
                "SELECT stage.name, stage.target_length, winner.k, stage.original_length,"
                " EXISTS (SELECT 1 FROM stage_document WHERE stage_document.stage = stage.id AND purpose = 'final'),"
                " (SELECT count(*) FROM candidate WHERE candidate.stage = stage.id AND role = 'search'"
                "   AND heldout_mean_nll IS NOT NULL),"
                " ifnull(winner_factors.attention_factor = (SELECT attention_factor FROM candidate JOIN factors"
                "   ON factors.digest = candidate.factors WHERE candidate.stage = stage.id AND role = 'baseline'"
                "   AND origin = 'none'), 0)"
                // Where PI is the untouched model, the search was for a length that the checkpoint reaches by itself.
                " AND (SELECT count(DISTINCT candidate.factors) FROM candidate WHERE candidate.stage = stage.id"
                "   AND role = 'baseline' AND origin IN ('none', 'pi')) = 2"
                " FROM stage JOIN candidate AS winner ON winner.id = stage.winner"
                " JOIN factors AS winner_factors ON winner_factors.digest = winner.factors"
                " WHERE stage.state = 'finished' ORDER BY stage.id");
  std::vector<JudgedStage> stages;
  while (row.next()) {
    JudgedStage stage;
    stage.stage = row.text();
    stage.target_length = row.integer();
    stage.winner = row.integer();
    stage.original_length = row.integer();
    stage.final_documents = row.integer() != 0;
    stage.finalists = row.integer();
    stage.keeps_attention_factor = row.integer() != 0;
    stages.push_back(std::move(stage));
  }
  return stages;
}

/// Names of the documents that judge a stage.
std::vector<std::string> judging_documents(const SQLite::Database& database, const std::string& stage) {
  RowReader row(database,
                "SELECT document.name FROM stage_document JOIN stage ON stage.id = stage_document.stage"
                " JOIN document ON document.digest = stage_document.document"
                " WHERE stage.name = ?1 AND purpose = CASE WHEN EXISTS (SELECT 1 FROM stage_document AS other"
                "   WHERE other.stage = stage.id AND other.purpose = 'final') THEN 'final' ELSE 'heldout' END"
                " ORDER BY position");
  row.bind(stage);
  std::vector<std::string> documents;
  while (row.next()) documents.push_back(row.text());
  return documents;
}

/// Fills methods and at_original_length of a stage that has its documents.
void add_judged_methods(const SQLite::Database& database, JudgedStage& stage) {
  RowReader row(database, "SELECT length, method, nll_sum, scored_tokens FROM v_judged WHERE stage = ?1");
  row.bind(stage.stage);
  while (row.next()) {
    std::vector<JudgedMethod>& methods =
        row.integer() == stage.target_length ? stage.methods : stage.at_original_length;
    std::string origin = row.text();
    if (methods.empty() || methods.back().origin != origin) methods.push_back({std::move(origin), {}, {}});
    methods.back().nll_sum.push_back(row.real());
    methods.back().scored_tokens.push_back(row.integer());
  }
  for (std::vector<JudgedMethod>* const methods : {&stage.methods, &stage.at_original_length}) {
    std::erase_if(*methods,
                  [&](const JudgedMethod& method) { return method.nll_sum.size() != stage.documents.size(); });
    if (!methods->empty() && methods->front().origin != "winner") methods->clear();
  }
  if (stage.at_original_length.size() < 2) stage.at_original_length.clear();
  if (stage.at_original_length.empty()) stage.original_length = 0;
}

}  // namespace

std::vector<JudgedStage> read_judged_stages(const SQLite::Database& database) {
  std::vector<JudgedStage> stages = finished_stages(database);
  for (JudgedStage& stage : stages) {
    stage.documents = judging_documents(database, stage.stage);
    add_judged_methods(database, stage);
  }
  return stages;
}

}  // namespace longrope
