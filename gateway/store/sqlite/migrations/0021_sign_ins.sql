ALTER TABLE tokens ADD COLUMN browser   TEXT;        -- what signed in, such as `Firefox on Linux`; NULL: a token
ALTER TABLE tokens ADD COLUMN parent    TEXT;        -- hash of the token that a browser signed in with; NULL: a token
ALTER TABLE tokens ADD COLUMN last_used INTEGER;     -- of a browser; NULL: a token

CREATE INDEX tokens_parent ON tokens (parent, last_used) WHERE parent IS NOT NULL;
