ALTER TABLE runs ADD COLUMN logged INTEGER NOT NULL DEFAULT 1; -- 0: of its events, only the last is left

CREATE INDEX runs_logged ON runs (finished) WHERE finished IS NOT NULL AND logged = 1;
CREATE INDEX runs_held   ON runs (session)  WHERE status = 'held';
