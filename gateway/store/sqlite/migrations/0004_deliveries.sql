CREATE TABLE deliveries (
    seq      INTEGER PRIMARY KEY,                    -- order of creation
    id       TEXT NOT NULL UNIQUE,
    run      INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    kind     TEXT NOT NULL,
    address  TEXT NOT NULL,
    format   TEXT NOT NULL,
    trusted  INTEGER NOT NULL,
    receiver TEXT NOT NULL,                          -- whose deliveries wait for each other
    status   TEXT NOT NULL,
    attempt  INTEGER NOT NULL DEFAULT 0,
    next_at  INTEGER NOT NULL,
    error    TEXT,
    created  INTEGER NOT NULL,
    finished INTEGER,
    UNIQUE (run, kind, address)
) STRICT;

CREATE INDEX deliveries_line    ON deliveries (receiver, next_at) WHERE status = 'pending';
CREATE INDEX deliveries_due     ON deliveries (next_at)           WHERE status = 'pending';
CREATE INDEX deliveries_sending ON deliveries (receiver)          WHERE status = 'sending';
CREATE INDEX deliveries_status  ON deliveries (status, seq);
CREATE INDEX deliveries_run     ON deliveries (run, seq);
