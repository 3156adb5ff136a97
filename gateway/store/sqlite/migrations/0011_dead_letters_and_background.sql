CREATE INDEX deliveries_dead ON deliveries (finished) WHERE status = 'dead';

-- runs of source `background` are tallied by status, too: `background queued` and so on
INSERT INTO tally (status, n)
SELECT 'background ' || status, count(*) FROM runs INDEXED BY runs_background WHERE source = 'background' GROUP BY status;
