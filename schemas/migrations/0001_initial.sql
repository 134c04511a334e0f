-- First schema of a search database. Tables and views are described in schemas/database.md.
-- Runs inside the transaction of the migration; foreign keys are deferred so that the rows of one transaction may be
-- written in any order. A NaN arrives as NULL and an infinity fails `< 1e308`: no CHECK lets either through.
-- No JSON function may be used here: SQLite 3.40 does not count them as harmless, and a connection with
-- trusted_schema=OFF could not open the database. The table-valued json_each and json_tree are allowed.

CREATE TABLE run (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  name TEXT NOT NULL,
  seed TEXT NOT NULL CHECK (seed <> '' AND seed NOT GLOB '*[^0-9]*'),  -- unsigned 64 bits do not fit an INTEGER
  config_file TEXT NOT NULL,
  config_text TEXT NOT NULL,
  trajectory_settings TEXT NOT NULL,  -- canonical JSON
  model_name TEXT NOT NULL,
  model_digest TEXT NOT NULL,
  dtype TEXT NOT NULL,
  angles TEXT NOT NULL,
  threads_per_worker INTEGER NOT NULL CHECK (threads_per_worker > 0),
  software_version TEXT NOT NULL
) STRICT;

CREATE TABLE stage (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  name TEXT NOT NULL UNIQUE CHECK (name <> ''),
  target_length INTEGER NOT NULL CHECK (target_length > 0),
  budget INTEGER NOT NULL CHECK (budget >= 0),
  state TEXT NOT NULL CHECK (state IN ('pending', 'searching', 'choosing', 'finished')),
  end_reason TEXT CHECK (end_reason IN ('budget', 'converged', 'time_limit', 'exhausted')),
  end_detail TEXT NOT NULL,
  winner INTEGER REFERENCES candidate (id) DEFERRABLE INITIALLY DEFERRED,
  active_milliseconds INTEGER NOT NULL CHECK (active_milliseconds >= 0),
  started_at INTEGER CHECK (started_at > 0),
  ended_at INTEGER CHECK (ended_at > 0)
) STRICT;

CREATE TABLE document (
  digest TEXT PRIMARY KEY CHECK (digest <> ''),
  name TEXT NOT NULL,
  file TEXT NOT NULL,
  tokens INTEGER NOT NULL CHECK (tokens > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE stage_document (
  stage INTEGER NOT NULL REFERENCES stage (id) DEFERRABLE INITIALLY DEFERRED,
  purpose TEXT NOT NULL CHECK (purpose IN ('search', 'heldout')),
  position INTEGER NOT NULL CHECK (position >= 0),
  document TEXT NOT NULL REFERENCES document (digest) DEFERRABLE INITIALLY DEFERRED,
  scored_tokens INTEGER NOT NULL CHECK (scored_tokens > 0),
  PRIMARY KEY (stage, purpose, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX stage_document_by_document ON stage_document (document, stage);

-- What the digest covers and so what determines a result. How a candidate came to these numbers (grid, policy) is in
-- `candidate`: equal numbers may be reached on and off a grid.
CREATE TABLE factors (
  digest TEXT PRIMARY KEY CHECK (digest <> ''),
  lambda TEXT NOT NULL CHECK (lambda GLOB '[[]*[0-9]*]'),
  n_hat INTEGER NOT NULL CHECK (n_hat >= 0),
  attention_factor REAL NOT NULL CHECK (attention_factor > 0 AND attention_factor < 1e308)
) STRICT, WITHOUT ROWID;

-- A CHECK cannot look into an array. json_each itself refuses what is not JSON.
CREATE TRIGGER factors_lambda_is_finite BEFORE INSERT ON factors
WHEN EXISTS (SELECT 1 FROM json_each(NEW.lambda)
             WHERE type NOT IN ('integer', 'real') OR NOT (value > 0 AND value < 1e308))
BEGIN
  SELECT RAISE(ABORT, 'every lambda must be a finite positive number');
END;
CREATE TRIGGER factors_never_change BEFORE UPDATE ON factors
BEGIN
  SELECT RAISE(ABORT, 'factors must not change: their digest names them');
END;

CREATE TABLE candidate (
  id INTEGER PRIMARY KEY,
  stage INTEGER NOT NULL REFERENCES stage (id) DEFERRABLE INITIALLY DEFERRED,
  role TEXT NOT NULL CHECK (role IN ('search', 'baseline')),
  k INTEGER NOT NULL CHECK (k >= 0),
  origin TEXT NOT NULL,
  factors TEXT NOT NULL REFERENCES factors (digest) DEFERRABLE INITIALLY DEFERRED,
  lambda_grid TEXT CHECK (lambda_grid GLOB '[[][0-9]*]' AND lambda_grid NOT GLOB '[[]*[^0-9,]*]'),
  steps_per_unit INTEGER NOT NULL CHECK (steps_per_unit >= 0),
  attention_policy TEXT NOT NULL CHECK (attention_policy IN ('su', 'yarn', 'none', 'value')),
  state TEXT NOT NULL CHECK (state IN ('open', 'told', 'quarantined', 'cancelled')),
  search_mean_nll REAL CHECK (search_mean_nll >= 0 AND search_mean_nll < 1e308),
  heldout_mean_nll REAL CHECK (heldout_mean_nll >= 0 AND heldout_mean_nll < 1e308),
  told_at INTEGER CHECK (told_at > 0),
  UNIQUE (stage, role, k),
  CHECK ((lambda_grid IS NULL) = (steps_per_unit = 0)),
  CHECK (NOT (role = 'search' AND state = 'told' AND search_mean_nll IS NULL))
) STRICT;
CREATE INDEX candidate_by_factors ON candidate (factors, stage);

CREATE TABLE candidate_parent (
  candidate INTEGER NOT NULL REFERENCES candidate (id) DEFERRABLE INITIALLY DEFERRED,
  position INTEGER NOT NULL CHECK (position >= 0),
  parent INTEGER NOT NULL REFERENCES candidate (id) DEFERRABLE INITIALLY DEFERRED,
  PRIMARY KEY (candidate, position),
  CHECK (parent <> candidate)
) STRICT, WITHOUT ROWID;
CREATE INDEX candidate_parent_by_parent ON candidate_parent (parent);

CREATE TABLE evaluation (
  id INTEGER PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE CHECK (hash <> ''),
  kind TEXT NOT NULL CHECK (kind IN ('score', 'gradient')),
  factors TEXT NOT NULL REFERENCES factors (digest) DEFERRABLE INITIALLY DEFERRED,
  document TEXT NOT NULL REFERENCES document (digest) DEFERRABLE INITIALLY DEFERRED,
  length INTEGER NOT NULL CHECK (length > 0),
  cost_passes REAL NOT NULL CHECK (cost_passes >= 0 AND cost_passes < 1e308),
  state TEXT NOT NULL CHECK (state IN ('pending', 'leased', 'scored', 'failed', 'cancelled')),
  epoch INTEGER NOT NULL CHECK (epoch >= 0),
  failures INTEGER NOT NULL CHECK (failures >= 0),
  worker TEXT,
  nll_sum REAL CHECK (nll_sum >= 0 AND nll_sum < 1e308),
  scored_tokens INTEGER CHECK (scored_tokens > 0),
  blocks TEXT CHECK (blocks GLOB '[[]*]'),
  gradient TEXT CHECK (gradient GLOB '[[]*]'),  -- results of kind 'gradient'; nothing writes it yet
  seconds REAL CHECK (seconds >= 0 AND seconds < 1e308),
  peak_memory_bytes INTEGER CHECK (peak_memory_bytes >= 0),
  error TEXT NOT NULL,
  scored_at INTEGER CHECK (scored_at > 0),
  CHECK ((state = 'scored') = (nll_sum IS NOT NULL)),
  CHECK ((nll_sum IS NULL) = (scored_tokens IS NULL)),
  CHECK ((nll_sum IS NULL) = (blocks IS NULL)),
  CHECK ((nll_sum IS NULL) = (seconds IS NULL)),
  CHECK ((nll_sum IS NULL) = (peak_memory_bytes IS NULL))
) STRICT;
CREATE INDEX evaluation_by_factors ON evaluation (factors, document, length);

CREATE TRIGGER evaluation_blocks_are_finite_on_insert BEFORE INSERT ON evaluation
WHEN EXISTS (SELECT 1 FROM json_tree(NEW.blocks)
             WHERE type NOT IN ('array', 'integer', 'real') OR (type <> 'array' AND NOT abs(atom) < 1e308))
BEGIN
  SELECT RAISE(ABORT, 'every block must be [finite nll_sum, scored_tokens]');
END;
CREATE TRIGGER evaluation_blocks_are_finite_on_update BEFORE UPDATE OF blocks ON evaluation
WHEN EXISTS (SELECT 1 FROM json_tree(NEW.blocks)
             WHERE type NOT IN ('array', 'integer', 'real') OR (type <> 'array' AND NOT abs(atom) < 1e308))
BEGIN
  SELECT RAISE(ABORT, 'every block must be [finite nll_sum, scored_tokens]');
END;
-- An acknowledged score is what the search went on from.
CREATE TRIGGER evaluation_score_never_changes BEFORE UPDATE ON evaluation
WHEN OLD.state = 'scored'
 AND (NEW.state <> 'scored' OR NEW.hash <> OLD.hash OR NEW.nll_sum IS NOT OLD.nll_sum
      OR NEW.scored_tokens IS NOT OLD.scored_tokens OR NEW.blocks IS NOT OLD.blocks)
BEGIN
  SELECT RAISE(ABORT, 'a scored evaluation must not change');
END;

CREATE TABLE lease (
  evaluation INTEGER NOT NULL REFERENCES evaluation (id) DEFERRABLE INITIALLY DEFERRED,
  epoch INTEGER NOT NULL CHECK (epoch > 0),
  worker TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  granted_at INTEGER CHECK (granted_at > 0),
  ended_at INTEGER CHECK (ended_at > 0),
  end_reason TEXT CHECK (end_reason IN ('scored', 'failed', 'rejected', 'expired', 'released')),
  detail TEXT NOT NULL,
  PRIMARY KEY (evaluation, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_open_by_worker ON lease (worker) WHERE end_reason IS NULL;

CREATE TABLE late_result (
  evaluation INTEGER NOT NULL REFERENCES evaluation (id) DEFERRABLE INITIALLY DEFERRED,
  epoch INTEGER NOT NULL CHECK (epoch >= 0),
  worker TEXT NOT NULL,
  nll_sum REAL NOT NULL CHECK (abs(nll_sum) < 1e308),
  scored_tokens INTEGER NOT NULL,
  blocks TEXT NOT NULL CHECK (blocks GLOB '[[]*]'),
  seconds REAL NOT NULL CHECK (abs(seconds) < 1e308),
  peak_memory_bytes INTEGER NOT NULL,
  same_as_stored INTEGER CHECK (same_as_stored IN (0, 1)),
  received_at INTEGER CHECK (received_at > 0),
  PRIMARY KEY (evaluation, epoch, worker)
) STRICT, WITHOUT ROWID;

CREATE TABLE worker (
  id TEXT PRIMARY KEY CHECK (id <> ''),
  incarnation TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('connected', 'lost', 'left', 'refused')),
  host TEXT NOT NULL,
  device TEXT NOT NULL,
  threads INTEGER NOT NULL CHECK (threads >= 0),
  results INTEGER NOT NULL CHECK (results >= 0),
  failures INTEGER NOT NULL CHECK (failures >= 0),
  seconds REAL NOT NULL CHECK (seconds >= 0 AND seconds < 1e308),
  last_seen_at INTEGER CHECK (last_seen_at > 0),
  detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Views for people. Their names and columns are stable; columns may be added at the end.

CREATE VIEW v_progress AS
WITH counted AS (
  SELECT stage.id AS stage,
         sum(evaluation.state = 'pending') AS pending, sum(evaluation.state = 'leased') AS leased,
         sum(evaluation.state = 'scored') AS scored, sum(evaluation.state = 'failed') AS failed,
         sum(CASE evaluation.state WHEN 'scored' THEN evaluation.cost_passes ELSE 0.0 END) AS passes
  FROM evaluation JOIN stage ON stage.target_length = evaluation.length
  WHERE EXISTS (SELECT 1 FROM candidate
                WHERE candidate.factors = evaluation.factors AND candidate.stage = stage.id)
    AND EXISTS (SELECT 1 FROM stage_document
                WHERE stage_document.document = evaluation.document AND stage_document.stage = stage.id)
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
       stage.end_reason, stage.end_detail, stage.active_milliseconds / 1000.0 AS active_seconds
FROM stage
LEFT JOIN asked ON asked.stage = stage.id
LEFT JOIN counted ON counted.stage = stage.id
LEFT JOIN candidate AS winner ON winner.id = stage.winner
LEFT JOIN candidate AS best ON best.id = (
  SELECT id FROM candidate
  WHERE candidate.stage = stage.id AND role = 'search' AND candidate.state = 'told'
  ORDER BY search_mean_nll, k LIMIT 1)
ORDER BY stage.id;

CREATE VIEW v_history AS
SELECT stage.name AS stage, candidate.k, candidate.origin,
       (SELECT '[' || ifnull(group_concat(k, ','), '') || ']' FROM (
          SELECT parent.k FROM candidate_parent JOIN candidate AS parent ON parent.id = candidate_parent.parent
          WHERE candidate_parent.candidate = candidate.id ORDER BY candidate_parent.position)) AS parents,
       candidate.state, factors.n_hat, candidate.attention_policy, factors.attention_factor,
       candidate.factors,
       CASE candidate.state WHEN 'told' THEN group_concat(DISTINCT evaluation.kind) END AS kind,
       CASE candidate.state WHEN 'told' THEN count(evaluation.id) END AS documents,
       CASE candidate.state WHEN 'told' THEN sum(evaluation.cost_passes) END AS document_passes,
       CASE candidate.state WHEN 'told' THEN sum(evaluation.nll_sum) END AS nll_sum,
       CASE candidate.state WHEN 'told' THEN sum(evaluation.scored_tokens) END AS scored_tokens,
       exp(candidate.search_mean_nll) AS perplexity,
       exp(min(candidate.search_mean_nll) OVER (PARTITION BY candidate.stage ORDER BY candidate.k)) AS best_so_far,
       exp(candidate.heldout_mean_nll) AS heldout_perplexity,
       factors.lambda,
       ifnull(sum(evaluation.seconds), 0.0) AS seconds,
       count(DISTINCT evaluation.worker) AS workers,
       strftime('%Y-%m-%dT%H:%M:%SZ', candidate.told_at / 1000, 'unixepoch') AS told_at
FROM candidate
JOIN stage ON stage.id = candidate.stage
JOIN factors ON factors.digest = candidate.factors
LEFT JOIN stage_document ON stage_document.stage = candidate.stage AND stage_document.purpose = 'search'
LEFT JOIN evaluation ON evaluation.factors = candidate.factors AND evaluation.document = stage_document.document
                    AND evaluation.length = stage.target_length AND evaluation.kind = 'score'
                    AND evaluation.state = 'scored'
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
        WHERE other.stage = stage.id AND other.role = 'baseline' AND other.origin = 'yarn') AS yarn_heldout_perplexity
FROM stage
JOIN candidate ON candidate.id = ifnull(stage.winner, (
  SELECT id FROM candidate AS told
  WHERE told.stage = stage.id AND told.role = 'search' AND told.state = 'told'
  ORDER BY told.search_mean_nll, told.k LIMIT 1))
JOIN factors ON factors.digest = candidate.factors
ORDER BY stage.id;

-- One row for each candidate and parent; depth 0 is a seed, otherwise one more than the deepest parent.
CREATE VIEW v_lineage AS
WITH RECURSIVE descent (candidate, depth) AS (
  SELECT id, 0 FROM candidate
  WHERE role = 'search' AND NOT EXISTS (SELECT 1 FROM candidate_parent WHERE candidate_parent.candidate = candidate.id)
  UNION
  SELECT candidate_parent.candidate, descent.depth + 1
  FROM descent JOIN candidate_parent ON candidate_parent.parent = descent.candidate
)
SELECT stage.name AS stage, candidate.k, candidate.origin, parent.k AS parent_k, max(descent.depth) AS depth,
       exp(candidate.search_mean_nll) AS perplexity, exp(parent.search_mean_nll) AS parent_perplexity
FROM descent
JOIN candidate ON candidate.id = descent.candidate
JOIN stage ON stage.id = candidate.stage
LEFT JOIN candidate_parent ON candidate_parent.candidate = candidate.id
LEFT JOIN candidate AS parent ON parent.id = candidate_parent.parent
GROUP BY candidate.id, candidate_parent.position
ORDER BY stage.id, candidate.k, candidate_parent.position;

CREATE VIEW v_workers AS
SELECT worker.id, worker.state, worker.host, worker.device, worker.threads,
       (SELECT count(*) FROM lease WHERE lease.worker = worker.id AND lease.end_reason IS NULL) AS leases,
       worker.results, worker.failures, worker.seconds,
       CASE WHEN worker.results > 0 THEN worker.seconds / worker.results END AS seconds_per_result,
       strftime('%Y-%m-%dT%H:%M:%SZ', worker.last_seen_at / 1000, 'unixepoch') AS last_seen, worker.detail
FROM worker
ORDER BY worker.id;
