-- A candidate says which documents it wants and of which kind; evaluations of kind gradient have one. A search that was
-- begun before asked for the score of every search document.

DROP VIEW v_progress;
DROP VIEW v_history;
DROP VIEW v_best;

ALTER TABLE candidate ADD COLUMN rung INTEGER NOT NULL DEFAULT 0 CHECK (rung >= 0);
ALTER TABLE late_result ADD COLUMN gradient TEXT CHECK (gradient GLOB '[[]*]');

CREATE TABLE candidate_evaluation (
  candidate INTEGER NOT NULL REFERENCES candidate (id) DEFERRABLE INITIALLY DEFERRED,
  position INTEGER NOT NULL CHECK (position >= 0),
  evaluation INTEGER NOT NULL REFERENCES evaluation (id) DEFERRABLE INITIALLY DEFERRED,
  PRIMARY KEY (candidate, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX candidate_evaluation_by_evaluation ON candidate_evaluation (evaluation);
-- The search goes on from the results of what it asked for.
CREATE TRIGGER candidate_evaluation_never_changes BEFORE UPDATE ON candidate_evaluation
WHEN NEW.candidate <> OLD.candidate OR NEW.position <> OLD.position OR NEW.evaluation <> OLD.evaluation
BEGIN
  SELECT RAISE(ABORT, 'what a candidate asked for must not change');
END;
INSERT INTO candidate_evaluation (candidate, position, evaluation)
  SELECT candidate.id, stage_document.position, evaluation.id
  FROM candidate
  JOIN stage ON stage.id = candidate.stage
  JOIN stage_document ON stage_document.stage = stage.id AND stage_document.purpose = 'search'
  JOIN evaluation ON evaluation.factors = candidate.factors AND evaluation.document = stage_document.document
                 AND evaluation.length = stage.target_length AND evaluation.kind = 'score'
  WHERE candidate.role = 'search';

-- A gradient is JSON of finite numbers, and never changes once it is there.
CREATE TRIGGER evaluation_gradient_is_finite_on_insert BEFORE INSERT ON evaluation
WHEN EXISTS (SELECT 1 FROM json_each(NEW.gradient)
             WHERE type NOT IN ('integer', 'real') OR NOT abs(value) < 1e308)
BEGIN
  SELECT RAISE(ABORT, 'every number of a gradient must be finite');
END;
CREATE TRIGGER evaluation_gradient_is_finite_on_update BEFORE UPDATE OF gradient ON evaluation
WHEN EXISTS (SELECT 1 FROM json_each(NEW.gradient)
             WHERE type NOT IN ('integer', 'real') OR NOT abs(value) < 1e308)
BEGIN
  SELECT RAISE(ABORT, 'every number of a gradient must be finite');
END;
CREATE TRIGGER evaluation_gradient_never_changes BEFORE UPDATE ON evaluation
WHEN OLD.state = 'scored' AND NEW.gradient IS NOT OLD.gradient
BEGIN
  SELECT RAISE(ABORT, 'a scored evaluation must not change');
END;
CREATE TRIGGER evaluation_has_the_gradient_of_its_kind_on_insert BEFORE INSERT ON evaluation
WHEN (NEW.state = 'scored' AND NEW.kind = 'gradient') <> (ifnull(NEW.gradient, '[]') GLOB '[[]*[0-9]*]')
BEGIN
  SELECT RAISE(ABORT, 'an evaluation must have a gradient if it is of that kind and scored, and only then');
END;
CREATE TRIGGER evaluation_has_the_gradient_of_its_kind_on_update BEFORE UPDATE ON evaluation
WHEN (NEW.state = 'scored' AND NEW.kind = 'gradient') <> (ifnull(NEW.gradient, '[]') GLOB '[[]*[0-9]*]')
BEGIN
  SELECT RAISE(ABORT, 'an evaluation must have a gradient if it is of that kind and scored, and only then');
END;

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
  ORDER BY rung DESC, search_mean_nll, k LIMIT 1)
ORDER BY stage.id;

CREATE VIEW v_history AS
SELECT stage.name AS stage, candidate.k, candidate.origin,
       (SELECT '[' || ifnull(group_concat(k, ','), '') || ']' FROM (
          SELECT parent.k FROM candidate_parent JOIN candidate AS parent ON parent.id = candidate_parent.parent
          WHERE candidate_parent.candidate = candidate.id ORDER BY candidate_parent.position)) AS parents,
       candidate.state, factors.n_hat, candidate.attention_policy, factors.attention_factor,
       candidate.factors,
       CASE candidate.state WHEN 'told' THEN
         iif(min(evaluation.kind) = max(evaluation.kind), min(evaluation.kind),
             min(evaluation.kind) || ',' || max(evaluation.kind)) END AS kind,
       CASE candidate.state WHEN 'told' THEN count(evaluation.id) END AS documents,
       CASE candidate.state WHEN 'told' THEN sum(evaluation.cost_passes) END AS document_passes,
       CASE candidate.state WHEN 'told' THEN sum(evaluation.nll_sum) END AS nll_sum,
       CASE candidate.state WHEN 'told' THEN sum(evaluation.scored_tokens) END AS scored_tokens,
       exp(candidate.search_mean_nll) AS perplexity,
       exp(min(candidate.search_mean_nll) OVER (
         PARTITION BY candidate.stage, candidate.rung ORDER BY candidate.k)) AS best_so_far,
       exp(candidate.heldout_mean_nll) AS heldout_perplexity,
       factors.lambda,
       ifnull(sum(evaluation.seconds), 0.0) AS seconds,
       count(DISTINCT evaluation.worker) AS workers,
       strftime('%Y-%m-%dT%H:%M:%SZ', candidate.told_at / 1000, 'unixepoch') AS told_at
FROM candidate
JOIN stage ON stage.id = candidate.stage
JOIN factors ON factors.digest = candidate.factors
LEFT JOIN candidate_evaluation ON candidate_evaluation.candidate = candidate.id
LEFT JOIN evaluation ON evaluation.id = candidate_evaluation.evaluation AND evaluation.state = 'scored'
WHERE candidate.role = 'search' AND candidate.state IN ('told', 'quarantined')
GROUP BY candidate.id
ORDER BY stage.id, candidate.k;

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
  ORDER BY told.rung DESC, told.search_mean_nll, told.k LIMIT 1))
JOIN factors ON factors.digest = candidate.factors
ORDER BY stage.id;
