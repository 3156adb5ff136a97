CREATE TABLE schedules (
    seq      INTEGER PRIMARY KEY,                    -- order of creation
    id       TEXT NOT NULL UNIQUE,
    spec     TEXT NOT NULL,                          -- JSON of ScheduleSpec
    enabled  INTEGER NOT NULL,
    reason   TEXT,                                   -- why it was disabled, unless by hand
    revision INTEGER NOT NULL DEFAULT 1,             -- raised by each edit: a fire that was planned before it is void
    anchor   INTEGER NOT NULL,                       -- what `every` counts from
    next_at  INTEGER,
    last_at  INTEGER,
    last_run TEXT,
    failures INTEGER NOT NULL DEFAULT 0,             -- in a row
    missed   INTEGER NOT NULL DEFAULT 0,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL
) STRICT;

CREATE INDEX schedules_due ON schedules (next_at) WHERE enabled = 1 AND next_at IS NOT NULL;

CREATE TABLE fires (
    schedule      TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    scheduled_for INTEGER NOT NULL,
    at            INTEGER NOT NULL,                  -- when that was decided
    outcome       TEXT NOT NULL,
    run           TEXT,
    error         TEXT,
    PRIMARY KEY (schedule, scheduled_for)            -- no time fires twice
) STRICT, WITHOUT ROWID;

CREATE INDEX fires_run ON fires (run) WHERE run IS NOT NULL;
CREATE INDEX fires_at  ON fires (at);
