-- The transcript again, with a number for each row, by which the index of its words names it.
CREATE TABLE numbered_transcript (
    id      INTEGER PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    n       INTEGER NOT NULL,
    role    TEXT NOT NULL,
    content TEXT NOT NULL,
    at      INTEGER NOT NULL,
    run     TEXT NOT NULL,
    UNIQUE (session, n)
) STRICT;

INSERT INTO numbered_transcript (session, n, role, content, at, run)
SELECT session, n, role, content, at, run FROM transcript ORDER BY at, session, n;

DROP TABLE transcript;
ALTER TABLE numbered_transcript RENAME TO transcript;

-- Of a very long message, its beginning can be found. The triggers say the same.
CREATE VIEW searched AS SELECT id, substr(content, 1, 65536) AS content FROM transcript;

CREATE VIRTUAL TABLE words USING fts5 (
    content, content = 'searched', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
INSERT INTO words (words) VALUES ('rebuild');

CREATE TRIGGER transcript_written AFTER INSERT ON transcript BEGIN
    INSERT INTO words (rowid, content) VALUES (new.id, substr(new.content, 1, 65536));
END;

CREATE TRIGGER transcript_deleted AFTER DELETE ON transcript BEGIN
    INSERT INTO words (words, rowid, content) VALUES ('delete', old.id, substr(old.content, 1, 65536));
END;
