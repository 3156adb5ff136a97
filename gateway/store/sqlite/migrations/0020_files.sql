CREATE TABLE contents (                              -- the bytes of files, in the directory `files`
    sha256 TEXT PRIMARY KEY,
    size   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE content_total (                         -- size of all contents, kept by triggers
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO content_total VALUES (1, 0);

CREATE TRIGGER content_added AFTER INSERT ON contents BEGIN
    UPDATE content_total SET bytes = bytes + new.size;
END;
CREATE TRIGGER content_removed AFTER DELETE ON contents BEGIN
    UPDATE content_total SET bytes = bytes - old.size;
END;

CREATE TABLE files (
    seq        INTEGER PRIMARY KEY,                  -- order of storing
    id         TEXT NOT NULL UNIQUE,
    sha256     TEXT NOT NULL REFERENCES contents (sha256),
    name       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size       INTEGER NOT NULL,
    uses       INTEGER NOT NULL DEFAULT 0,           -- rows of `file_uses`, kept by triggers
    created    INTEGER NOT NULL
) STRICT;
CREATE INDEX files_content ON files (sha256);
CREATE INDEX files_unused  ON files (created) WHERE uses = 0;

CREATE TABLE file_uses (                             -- what refers to a file: one of the three
    file     INTEGER NOT NULL REFERENCES files (seq),
    run      INTEGER REFERENCES runs (seq) ON DELETE CASCADE,
    message  INTEGER REFERENCES transcript (id) ON DELETE CASCADE,
    schedule TEXT REFERENCES schedules (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX file_uses_file     ON file_uses (file);
CREATE INDEX file_uses_run      ON file_uses (run)      WHERE run IS NOT NULL;
CREATE INDEX file_uses_message  ON file_uses (message)  WHERE message IS NOT NULL;
CREATE INDEX file_uses_schedule ON file_uses (schedule) WHERE schedule IS NOT NULL;

CREATE TRIGGER file_used AFTER INSERT ON file_uses BEGIN
    UPDATE files SET uses = uses + 1 WHERE seq = new.file;
END;
CREATE TRIGGER file_released AFTER DELETE ON file_uses BEGIN
    UPDATE files SET uses = uses - 1 WHERE seq = old.file;
END;

ALTER TABLE runs       ADD COLUMN files TEXT;        -- JSON: list of File that the agent made; NULL: none
ALTER TABLE transcript ADD COLUMN files TEXT;        -- JSON: list of File that belong to the message; NULL: none
