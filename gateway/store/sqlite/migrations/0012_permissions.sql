CREATE TABLE permissions (                           -- what agents asked to be allowed
    run      INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    n        INTEGER NOT NULL,                       -- from 1 in a run, over its attempts
    event    INTEGER NOT NULL,                       -- number of the event that tells of it
    action   TEXT NOT NULL,
    choices  TEXT NOT NULL,                          -- JSON: list of answers
    asked    INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    answer   TEXT,                                   -- NULL: the agent waits for it
    answered INTEGER,
    by       TEXT NOT NULL DEFAULT '',               -- name of the token that answered
    lapse    TEXT,                                   -- why it was denied, if nobody answered
    PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;
