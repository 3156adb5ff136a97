ALTER TABLE permissions ADD COLUMN seq INTEGER NOT NULL DEFAULT 0; -- order of asking, over all runs
UPDATE permissions SET seq = ranked.seq FROM (
    SELECT run, n, row_number() OVER (ORDER BY asked, run, n) AS seq FROM permissions
) AS ranked WHERE ranked.run = permissions.run AND ranked.n = permissions.n;
CREATE UNIQUE INDEX permissions_seq ON permissions (seq);
CREATE INDEX permissions_open ON permissions (seq) WHERE answer IS NULL;

CREATE INDEX runs_ended ON runs (agent, finished, started, status, outcome) WHERE finished IS NOT NULL;

CREATE TABLE delivery_attempts (                     -- how each attempt to send a delivery went
    delivery    INTEGER NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
    n           INTEGER NOT NULL,                    -- from 1, over all retries; the newest ones are kept
    kind        TEXT NOT NULL,                       -- as in `deliveries`
    at          INTEGER NOT NULL,                    -- when it began, or when it was found interrupted
    took        INTEGER,                             -- milliseconds; NULL: its process ended first
    http_status INTEGER,                             -- NULL: no answer, or no webhook
    error       TEXT,                                -- NULL: the receiver accepted it
    PRIMARY KEY (delivery, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_attempts_of_channel ON delivery_attempts (kind, error IS NULL, at)
WHERE kind <> 'webhook' AND took IS NOT NULL;
