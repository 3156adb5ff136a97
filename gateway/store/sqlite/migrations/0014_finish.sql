ALTER TABLE runs ADD COLUMN finish TEXT;                -- why the answer ended; NULL: none, or from before this
