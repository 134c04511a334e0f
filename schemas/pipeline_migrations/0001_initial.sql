-- First schema of a pipeline database. The table is described in schemas/database.md.
-- Runs inside the transaction of the migration; see migrations/0001_initial.sql for what may not be used here.

CREATE TABLE pipeline (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  name TEXT NOT NULL,
  config_file TEXT NOT NULL,
  config_text TEXT NOT NULL,
  settings TEXT NOT NULL,  -- canonical JSON: seed, dtype, angles, threads, digest of the model
  software_version TEXT NOT NULL
) STRICT;

-- In the order of the configuration. `inputs` and `outputs` name files by their digests: what a stage took and gave.
CREATE TABLE pipeline_stage (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  name TEXT NOT NULL UNIQUE CHECK (name <> ''),
  kind TEXT NOT NULL CHECK (kind IN ('search', 'finetune', 'recover', 'evaluate', 'export')),
  settings TEXT NOT NULL,  -- canonical JSON
  model TEXT NOT NULL,     -- the finetune stage whose checkpoint it takes; '': the configuration's model
  factors TEXT NOT NULL,   -- the search stage whose winner it takes; '': none
  state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'waiting', 'finished', 'failed', 'skipped')),
  inputs TEXT NOT NULL CHECK (inputs GLOB '{*}'),  -- JSON object: digests by what they are of
  output TEXT NOT NULL,                            -- path, relative to the database's folder unless it lies elsewhere
  output_digest TEXT NOT NULL,
  detail TEXT NOT NULL,  -- why it failed, what it waits for
  active_milliseconds INTEGER NOT NULL CHECK (active_milliseconds >= 0),
  started_at INTEGER CHECK (started_at > 0),
  ended_at INTEGER CHECK (ended_at > 0),
  CHECK ((state = 'finished') = (output_digest <> ''))
) STRICT;

CREATE VIEW v_stages AS
SELECT name, kind, state, model, factors, active_milliseconds / 1000.0 AS active_seconds,
       strftime('%Y-%m-%dT%H:%M:%SZ', started_at / 1000, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%SZ', ended_at / 1000, 'unixepoch') AS ended_at,
       inputs, output, output_digest, detail
FROM pipeline_stage ORDER BY id;
