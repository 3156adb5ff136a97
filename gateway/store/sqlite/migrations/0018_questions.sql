ALTER TABLE permissions ADD COLUMN question TEXT;    -- JSON; NULL: the agent asks for permission, and for nothing else
ALTER TABLE permissions ADD COLUMN content TEXT;     -- JSON: the answer to a question
