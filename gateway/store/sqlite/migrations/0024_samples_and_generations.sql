CREATE TABLE samples (                               -- one a minute, by the process that leads
    at             INTEGER PRIMARY KEY,
    running        INTEGER NOT NULL,                 -- runs at that moment
    queued         INTEGER NOT NULL,
    ended          INTEGER NOT NULL,                 -- runs since the sample before
    failed         INTEGER NOT NULL,
    accept_ms      REAL NOT NULL,
    memory_bytes   INTEGER NOT NULL,
    cpu_percent    REAL NOT NULL,
    loop_lag_ms    REAL NOT NULL,
    database_bytes INTEGER NOT NULL
) STRICT;

CREATE TABLE generations (                           -- serving processes that led
    seq        INTEGER PRIMARY KEY,                  -- order of leading
    owner      TEXT NOT NULL,                        -- instance and process, see owner.py
    generation INTEGER NOT NULL,
    version    TEXT NOT NULL,
    started    INTEGER NOT NULL,
    ready      INTEGER NOT NULL,
    ended      INTEGER,
    reason     TEXT,                                 -- why it ended
    UNIQUE (owner, generation)
) STRICT;
CREATE INDEX generations_open ON generations (seq) WHERE ended IS NULL;
