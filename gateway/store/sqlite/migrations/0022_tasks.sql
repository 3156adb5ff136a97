-- What lists of runs are filtered by: the source, and the run that a run is part of.
CREATE INDEX runs_source ON runs (source, seq);

ALTER TABLE runs ADD COLUMN parent TEXT;                -- id of the run that it is part of, as in its spec
UPDATE runs SET parent = json_extract(spec, '$.parent') WHERE instr(spec, '"parent":') AND json_valid(spec);
CREATE INDEX runs_parent ON runs (parent, seq) WHERE parent IS NOT NULL;

-- Whether a later run repeats it: then a retry of all that failed leaves it out.
ALTER TABLE runs ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET retried = 1 WHERE id IN (
    SELECT json_extract(spec, '$.retry_of') FROM runs WHERE instr(spec, '"retry_of":') AND json_valid(spec)
);
