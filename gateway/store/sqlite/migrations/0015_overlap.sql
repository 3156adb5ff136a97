-- The runs of each schedule that have not ended. A row whose spec cannot be read has no schedule.
CREATE INDEX runs_of_schedule ON runs (iif(json_valid(spec), json_extract(spec, '$.labels.schedule'), NULL))
WHERE source = 'cron' AND status IN ('queued', 'running');

-- Times at which nothing was started because of earlier runs, and why the last of them was skipped.
ALTER TABLE schedules ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE schedules ADD COLUMN skip_reason TEXT;
