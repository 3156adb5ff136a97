ALTER TABLE usage ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0;  -- runs of which no tokens were told
