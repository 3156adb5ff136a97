ALTER TABLE runs ADD COLUMN rounds INTEGER;              -- of a goal: rounds that ended
ALTER TABLE runs ADD COLUMN done   INTEGER;              -- of a goal that ended: whether it was reached
ALTER TABLE runs ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0; -- no longer shown in a history

-- runs of source `background` have a limit of their own: they are claimed from an index of their own
DROP INDEX runs_ready;
CREATE INDEX runs_ready      ON runs (agent, priority DESC, seq) WHERE status = 'queued' AND ready = 1 AND source <> 'background';
CREATE INDEX runs_behind     ON runs (agent, priority DESC, seq) WHERE status = 'queued' AND ready = 1 AND source = 'background';
CREATE INDEX runs_background ON runs (status)                    WHERE source = 'background';
