CREATE TABLE audit (                                 -- who did what, see audit.py
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    who_kind TEXT NOT NULL,                          -- token, browser, chat, stranger or system
    who      TEXT NOT NULL,
    address  TEXT NOT NULL,                          -- where the request came from; empty if there was none
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    details  TEXT NOT NULL                           -- JSON object of texts
) STRICT;

CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_who ON audit (who, seq);
CREATE INDEX audit_action ON audit (action, seq);

CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'an entry of the audit log is never changed');
END;

CREATE TABLE token_uses (                            -- when each token was last used
    token   TEXT PRIMARY KEY,                        -- hash of its secret; `owner` is the gateway's own token
    at      INTEGER NOT NULL,
    address TEXT NOT NULL,
    client  TEXT NOT NULL                            -- what sent the request, such as `Firefox on Linux`
) STRICT, WITHOUT ROWID;

ALTER TABLE tokens ADD COLUMN agents   TEXT;         -- JSON list of the ids of agents that it reaches; NULL: all
ALTER TABLE tokens ADD COLUMN sessions TEXT;         -- JSON list of keys of sessions, or their beginnings and *; NULL: all
