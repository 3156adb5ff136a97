CREATE TABLE open_alerts (                           -- conditions that are open, see alerts.py
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    text    TEXT NOT NULL,
    level   INTEGER NOT NULL,
    agent   TEXT,
    opened  INTEGER NOT NULL,
    told    INTEGER NOT NULL,                        -- when a message last told of it
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_messages (                        -- what receivers of alerts are told
    seq      INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    receiver TEXT NOT NULL,                          -- its name in the settings
    status   TEXT NOT NULL,                          -- collecting, pending, delivered, dead
    content  TEXT NOT NULL,                          -- JSON
    attempt  INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    error    TEXT,
    created  INTEGER NOT NULL,
    released INTEGER,                                -- when it stopped collecting
    finished INTEGER
) STRICT;
CREATE INDEX alert_messages_waiting ON alert_messages (seq) WHERE status IN ('collecting', 'pending');
CREATE INDEX alert_messages_released ON alert_messages (released);

CREATE TABLE alert_feed (                            -- how far the changes were looked through
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,                       -- of a change
    revision INTEGER NOT NULL                        -- grows with each write
) STRICT;
