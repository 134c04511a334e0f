-- Final documents judge the winner that the held-out documents chose; and the winner's attention factor is compared with
-- the untouched model's at the length that the checkpoint reaches by itself. A search that chose its winner before there
-- were any has neither, and goes on with the baselines that it has.

DROP VIEW v_progress;
DROP VIEW v_best;

-- A CHECK cannot be altered.
CREATE TABLE earlier_stage_document AS SELECT * FROM stage_document;
DROP TABLE stage_document;
CREATE TABLE stage_document (
  stage INTEGER NOT NULL REFERENCES stage (id) DEFERRABLE INITIALLY DEFERRED,
  purpose TEXT NOT NULL CHECK (purpose IN ('search', 'heldout', 'final')),
  position INTEGER NOT NULL CHECK (position >= 0),
  document TEXT NOT NULL REFERENCES document (digest) DEFERRABLE INITIALLY DEFERRED,
  scored_tokens INTEGER NOT NULL CHECK (scored_tokens > 0),
  PRIMARY KEY (stage, purpose, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX stage_document_by_document ON stage_document (document, stage);
INSERT INTO stage_document (stage, purpose, position, document, scored_tokens)
  SELECT stage, purpose, position, document, scored_tokens FROM earlier_stage_document;
DROP TABLE earlier_stage_document;

ALTER TABLE stage ADD COLUMN judging_evaluations INTEGER NOT NULL DEFAULT 0 CHECK (judging_evaluations >= 0);
ALTER TABLE stage ADD COLUMN original_length INTEGER CHECK (original_length > 0);
ALTER TABLE candidate ADD COLUMN final_mean_nll REAL CHECK (final_mean_nll >= 0 AND final_mean_nll < 1e308);

CREATE VIEW v_progress AS
WITH counted AS (
  SELECT stage.id AS stage,
         sum(evaluation.state = 'pending') AS pending, sum(evaluation.state = 'leased') AS leased,
         sum(evaluation.state = 'scored') AS scored, sum(evaluation.state = 'failed') AS failed,
         sum(CASE evaluation.state WHEN 'scored' THEN evaluation.cost_passes ELSE 0.0 END) AS passes
  FROM evaluation
  JOIN stage ON evaluation.length = stage.target_length OR evaluation.length = stage.original_length
  WHERE EXISTS (SELECT 1 FROM candidate
                WHERE candidate.factors = evaluation.factors AND candidate.stage = stage.id)
    AND EXISTS (SELECT 1 FROM stage_document
                WHERE stage_document.document = evaluation.document AND stage_document.stage = stage.id)
  GROUP BY stage.id
), judged AS (
  SELECT stage.id AS stage, count(DISTINCT evaluation.id) AS scored
  FROM stage JOIN stage_document ON stage_document.stage = stage.id AND stage_document.purpose <> 'search'
  JOIN candidate ON candidate.stage = stage.id
  JOIN evaluation ON evaluation.factors = candidate.factors AND evaluation.document = stage_document.document
                 AND evaluation.length = stage.target_length AND evaluation.state = 'scored'
  GROUP BY stage.id
), asked AS (
  SELECT stage, sum(state = 'told') AS told, sum(state = 'quarantined') AS quarantined, sum(state = 'open') AS open
  FROM candidate WHERE role = 'search' GROUP BY stage
)
SELECT stage.id AS stage, stage.name, stage.target_length, stage.state,
       ifnull(asked.told, 0) AS told, ifnull(asked.quarantined, 0) AS quarantined, ifnull(asked.open, 0) AS open,
       stage.budget,
       ifnull(counted.pending, 0) AS evaluations_pending, ifnull(counted.leased, 0) AS evaluations_leased,
       ifnull(counted.scored, 0) AS evaluations_scored, ifnull(counted.failed, 0) AS evaluations_failed,
       ifnull(counted.passes, 0.0) AS document_passes,
       exp(best.search_mean_nll) AS best_search_perplexity, best.k AS best_k, winner.k AS winner_k,
       stage.end_reason, stage.end_detail, stage.active_milliseconds / 1000.0 AS active_seconds,
       stage.judging_evaluations, ifnull(judged.scored, 0) AS judging_scored
FROM stage
LEFT JOIN asked ON asked.stage = stage.id
LEFT JOIN counted ON counted.stage = stage.id
LEFT JOIN judged ON judged.stage = stage.id
LEFT JOIN candidate AS winner ON winner.id = stage.winner
LEFT JOIN candidate AS best ON best.id = (
  SELECT id FROM candidate
  WHERE candidate.stage = stage.id AND role = 'search' AND candidate.state = 'told'
  ORDER BY search_mean_nll, k LIMIT 1)
ORDER BY stage.id;

CREATE VIEW v_best AS
SELECT stage.name AS stage, stage.target_length, stage.winner IS NOT NULL AS final, candidate.k, candidate.origin,
       exp(candidate.search_mean_nll) AS search_perplexity, exp(candidate.heldout_mean_nll) AS heldout_perplexity,
       factors.n_hat, candidate.attention_policy, factors.attention_factor, factors.lambda, candidate.lambda_grid,
       candidate.steps_per_unit, candidate.factors,
       (SELECT exp(heldout_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'none') AS none_heldout_perplexity,
       (SELECT exp(heldout_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'pi') AS pi_heldout_perplexity,
       (SELECT exp(heldout_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'ntk') AS ntk_heldout_perplexity,
       (SELECT exp(heldout_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'yarn') AS yarn_heldout_perplexity,
       exp(candidate.final_mean_nll) AS final_perplexity,
       (SELECT exp(final_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'none') AS none_final_perplexity,
       (SELECT exp(final_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'pi') AS pi_final_perplexity,
       (SELECT exp(final_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'ntk') AS ntk_final_perplexity,
       (SELECT exp(final_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'yarn') AS yarn_final_perplexity,
       (SELECT exp(heldout_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'pi-m1') AS pi_m1_heldout_perplexity,
       (SELECT exp(heldout_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'ntk-m1') AS ntk_m1_heldout_perplexity,
       (SELECT exp(heldout_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'yarn-m1') AS yarn_m1_heldout_perplexity,
       (SELECT exp(final_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'pi-m1') AS pi_m1_final_perplexity,
       (SELECT exp(final_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'ntk-m1') AS ntk_m1_final_perplexity,
       (SELECT exp(final_mean_nll) FROM candidate AS other
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'yarn-m1') AS yarn_m1_final_perplexity
FROM stage
JOIN candidate ON candidate.id = ifnull(stage.winner, (
  SELECT id FROM candidate AS told
  WHERE told.stage = stage.id AND told.role = 'search' AND told.state = 'told'
  ORDER BY told.search_mean_nll, told.k LIMIT 1))
JOIN factors ON factors.digest = candidate.factors
ORDER BY stage.id;

-- One row for each document, and each method that a stage's winner is compared with, as far as scored: on the final
-- documents, without any on the held-out ones, which also chose the winner.
CREATE VIEW v_judged AS
WITH judging AS (
  SELECT stage, purpose, position, document FROM stage_document AS used
  WHERE purpose = 'final'
     OR (purpose = 'heldout' AND NOT EXISTS (SELECT 1 FROM stage_document AS other
                                             WHERE other.stage = used.stage AND other.purpose = 'final'))
), method AS (
  SELECT stage.id AS stage, -1 AS rank, 'winner' AS name, candidate.factors, stage.target_length AS length
  FROM stage JOIN candidate ON candidate.id = stage.winner
  UNION ALL
  SELECT stage.id, candidate.k, candidate.origin, candidate.factors, stage.target_length
  FROM stage JOIN candidate ON candidate.stage = stage.id AND candidate.role = 'baseline'
  WHERE stage.winner IS NOT NULL AND candidate.origin <> 'none-winner-m'
  UNION ALL
  SELECT stage.id, -1, 'winner', candidate.factors, stage.original_length
  FROM stage JOIN candidate ON candidate.stage = stage.id AND candidate.role = 'baseline'
  WHERE candidate.origin = 'none-winner-m'
  UNION ALL
  SELECT stage.id, candidate.k, candidate.origin, candidate.factors, stage.original_length
  FROM stage JOIN candidate ON candidate.stage = stage.id AND candidate.role = 'baseline'
  WHERE candidate.origin = 'none' AND stage.original_length IS NOT NULL
)
SELECT stage.name AS stage, method.length, method.name AS method, judging.purpose, judging.position,
       document.name AS document, evaluation.nll_sum, evaluation.scored_tokens
FROM method
JOIN stage ON stage.id = method.stage
JOIN judging ON judging.stage = method.stage
JOIN document ON document.digest = judging.document
JOIN evaluation ON evaluation.factors = method.factors AND evaluation.document = judging.document
               AND evaluation.length = method.length AND evaluation.kind = 'score' AND evaluation.state = 'scored'
ORDER BY stage.id, method.length DESC, method.rank, judging.position;
