CREATE TABLE notes (                                 -- what channels keep: chats, codes, positions
    scope   TEXT NOT NULL,                           -- name of the channel
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    expires INTEGER,                                 -- NULL: never
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX notes_expires ON notes (expires) WHERE expires IS NOT NULL;
