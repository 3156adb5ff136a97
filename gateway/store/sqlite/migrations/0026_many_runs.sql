CREATE TABLE end_counts (                            -- runs by when they ended and status, kept with every end, see end_counts.py
    begins INTEGER NOT NULL,                         -- of a whole minute; of a whole hour, once it is old
    status TEXT NOT NULL,
    ends   INTEGER NOT NULL,                         -- the first millisecond that is not in it
    n      INTEGER NOT NULL,
    PRIMARY KEY (begins, status)
) STRICT, WITHOUT ROWID;

CREATE INDEX end_counts_minutes ON end_counts (begins) WHERE ends - begins < 3600000;

CREATE TRIGGER run_leaves_end_counts AFTER DELETE ON runs WHEN old.finished IS NOT NULL BEGIN
    UPDATE end_counts SET n = n - 1 WHERE status = old.status AND begins = (
        SELECT max(begins) FROM end_counts WHERE begins > old.finished - 3600000 AND begins <= old.finished
        AND ends > old.finished AND status = old.status
    );
END;

-- A run that is deleted finds its labels by it.
CREATE INDEX labels_run ON labels (run);

-- The use of a session no longer writes this index: few sessions have the same chat.
DROP INDEX sessions_chat;
CREATE INDEX sessions_of_chat ON sessions (chat);

WITH newest AS (SELECT max(finished) AS at FROM runs),
spans AS (
    SELECT finished, status, iif(finished < (at - 172800000) / 3600000 * 3600000, 3600000, 60000) AS span
    FROM runs INDEXED BY runs_finished, newest WHERE finished IS NOT NULL
)
INSERT INTO end_counts SELECT finished / span * span, status, finished / span * span + span, count(*)
FROM spans GROUP BY finished / span * span, status;
