-- Scripts without spaces between words are searched by their characters: `spaced` is a function of the program
-- that sets those apart. What was written before is in the index as it is written, until its turn comes: the
-- messages from `next` to `last`.
CREATE TABLE respacing (next INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;
INSERT INTO respacing SELECT 1, coalesce(max(id), 0) FROM transcript;

-- What the index has of each message. The triggers say the same.
DROP VIEW searched;
CREATE VIEW searched AS
SELECT id, iif(id BETWEEN next AND last, substr(content, 1, 65536), spaced(substr(content, 1, 65536))) AS content
FROM transcript, respacing;

DROP TRIGGER transcript_written;
CREATE TRIGGER transcript_written AFTER INSERT ON transcript BEGIN
    INSERT INTO words (rowid, content)
    SELECT new.id, iif(new.id BETWEEN next AND last, substr(new.content, 1, 65536), spaced(substr(new.content, 1, 65536)))
    FROM respacing;
END;

DROP TRIGGER transcript_deleted;
CREATE TRIGGER transcript_deleted AFTER DELETE ON transcript BEGIN
    INSERT INTO words (words, rowid, content)
    SELECT 'delete', old.id,
        iif(old.id BETWEEN next AND last, substr(old.content, 1, 65536), spaced(substr(old.content, 1, 65536)))
    FROM respacing;
END;
