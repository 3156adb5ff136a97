CREATE TABLE usage (                                 -- what was used, by the day of the gateway's zone
    agent    TEXT NOT NULL,
    day      TEXT NOT NULL,
    schedule TEXT NOT NULL,                          -- empty: of none
    runs     INTEGER NOT NULL,                       -- counted when they first stop running, on the day they began
    input    INTEGER NOT NULL,                       -- this and the rest: counted with the events that tell them
    output   INTEGER NOT NULL,
    cached   INTEGER NOT NULL,
    cost     REAL NOT NULL,
    unpriced INTEGER NOT NULL,                       -- runs of which no cost was told
    PRIMARY KEY (agent, day, schedule)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_day      ON usage (day);
CREATE INDEX usage_schedule ON usage (schedule, day) WHERE schedule <> '';

ALTER TABLE agents ADD COLUMN budget TEXT;               -- JSON of Budget; NULL: its base's own
