-- Prompts that the model refused: later turns of the session do not send them again.
ALTER TABLE transcript ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;

-- What an ended run tells about the conversation behind its answer. JSON: list of words.
ALTER TABLE runs ADD COLUMN notices TEXT NOT NULL DEFAULT '[]';
