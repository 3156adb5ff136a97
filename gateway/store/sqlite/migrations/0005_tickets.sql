CREATE TABLE tickets (                               -- each may be used once, for a short time
    hash    TEXT PRIMARY KEY,
    token   TEXT NOT NULL,                           -- hash of the token that asked for it
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tickets_expires ON tickets (expires);
