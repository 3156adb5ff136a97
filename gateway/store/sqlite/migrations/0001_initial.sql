-- Times are milliseconds since 1970 UTC. JSON columns hold what msgspec writes for the domain's types.

CREATE TABLE runs (
    seq              INTEGER PRIMARY KEY,            -- order of acceptance
    id               TEXT NOT NULL UNIQUE,
    agent            TEXT NOT NULL,
    session          TEXT NOT NULL,
    source           TEXT NOT NULL,
    spec             TEXT NOT NULL,                  -- JSON of RunSpec
    status           TEXT NOT NULL,
    ready            INTEGER NOT NULL DEFAULT 0,     -- first in its session's lane, see runs.py
    outcome          TEXT,
    priority         INTEGER NOT NULL,
    run_at           INTEGER,                        -- not before; NULL once it is due
    attempt          INTEGER NOT NULL DEFAULT 0,
    epoch            INTEGER NOT NULL DEFAULT 0,
    owner            TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    last_event       INTEGER NOT NULL DEFAULT 0,
    result           TEXT,
    usage            TEXT NOT NULL DEFAULT '{}',     -- JSON of Usage
    error            TEXT,
    created          INTEGER NOT NULL,
    started          INTEGER,
    finished         INTEGER
) STRICT;

CREATE INDEX runs_ready    ON runs (agent, priority DESC, seq) WHERE status = 'queued' AND ready = 1;
CREATE INDEX runs_waiting  ON runs (session, seq)              WHERE status = 'queued' AND run_at IS NULL;
CREATE INDEX runs_lane     ON runs (session, seq)              WHERE status IN ('queued', 'running');
CREATE UNIQUE INDEX runs_head ON runs (session)                WHERE status = 'running' OR ready = 1;
CREATE INDEX runs_running  ON runs (agent)                     WHERE status = 'running';
CREATE INDEX runs_due      ON runs (run_at)                    WHERE status = 'queued' AND run_at IS NOT NULL;
CREATE INDEX runs_finished ON runs (finished, status)          WHERE finished IS NOT NULL;
CREATE INDEX runs_session  ON runs (session, seq);
CREATE INDEX runs_status   ON runs (status, seq);
CREATE INDEX runs_agent    ON runs (agent, seq);

CREATE TABLE tally (                                 -- runs by status, kept with every move
    status TEXT PRIMARY KEY,
    n      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE labels (
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    run   INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    PRIMARY KEY (name, value, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    run  INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    n    INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    data TEXT NOT NULL,                              -- JSON of a Happening
    PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,       -- never used twice, even after pruning
    topic   TEXT NOT NULL,
    ref     TEXT NOT NULL,
    state   TEXT NOT NULL,
    agent   TEXT NOT NULL,
    session TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    key         TEXT PRIMARY KEY,
    agent       TEXT NOT NULL,
    channel     TEXT NOT NULL,
    chat        TEXT NOT NULL,
    title       TEXT NOT NULL DEFAULT '',
    backend_ref TEXT,
    last_n      INTEGER NOT NULL DEFAULT 0,          -- number of the last transcript row
    touched     INTEGER NOT NULL UNIQUE,             -- order of last use
    after_run   INTEGER NOT NULL,                    -- runs up to this one were an earlier session's of that key
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_chat    ON sessions (chat, touched);
CREATE INDEX sessions_empty   ON sessions (agent, channel, touched) WHERE last_n = 0;

CREATE TABLE transcript (
    session TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    n       INTEGER NOT NULL,
    role    TEXT NOT NULL,
    content TEXT NOT NULL,
    at      INTEGER NOT NULL,
    run     TEXT NOT NULL,
    PRIMARY KEY (session, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    scope   TEXT NOT NULL,
    key     TEXT NOT NULL,
    digest  TEXT NOT NULL,
    ref     TEXT NOT NULL,                           -- id of the run or key of the session it made
    expires INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_expires ON idempotency (expires);

CREATE TABLE processes (
    who   TEXT PRIMARY KEY,                          -- pid/start/boot, see identity.py
    owner TEXT NOT NULL,
    run   TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    name    TEXT PRIMARY KEY,
    hash    TEXT NOT NULL UNIQUE,
    scope   TEXT NOT NULL,
    expires INTEGER,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pulse (                                 -- written to see whether the disk takes it
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
