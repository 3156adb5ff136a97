-- The bytes of files. Every member of a fleet reads them here, and keeps copies on its own disk. They are written in a
-- transaction of their own, before the one that inserts into `contents`: so a row here may be nobody's.

CREATE TABLE stored_contents (  -- contents that are here, whole
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 text COLLATE "C" NOT NULL UNIQUE,
    size bigint NOT NULL
);

CREATE TABLE content_pieces (
    content bigint NOT NULL, -- of `stored_contents`; pieces whose content was removed are deleted a little later
    n bigint NOT NULL,       -- from 0; all pieces but the last have the same size
    data bytea NOT NULL,
    PRIMARY KEY (content, n)
);
ALTER TABLE content_pieces ALTER COLUMN data SET STORAGE EXTERNAL; -- most files are compressed already

CREATE TABLE content_holds (  -- contents that a message or answer on its way has: they are not removed
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content bigint NOT NULL REFERENCES stored_contents (id),
    until timestamptz NOT NULL -- then its process has ended without releasing it
);
CREATE INDEX content_holds_content ON content_holds (content);
CREATE INDEX content_holds_until ON content_holds (until);
