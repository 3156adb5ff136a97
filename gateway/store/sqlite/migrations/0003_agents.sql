-- Agents that were made through the API; those of the config file are not here.
CREATE TABLE agents (
    id             TEXT PRIMARY KEY,                 -- a UUID
    slug           TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    base           TEXT NOT NULL,                    -- id of the configured agent underneath
    model          TEXT,
    system_prompt  TEXT,
    max_concurrent INTEGER NOT NULL,
    enabled        INTEGER NOT NULL,
    created        INTEGER NOT NULL,
    updated        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- whose runs wait, and which runs hold a slot of an agent
CREATE INDEX runs_waiting ON runs (agent, seq) WHERE status = 'queued';
CREATE INDEX runs_slots   ON runs (agent)      WHERE source = 'assign' AND status IN ('queued', 'running');
