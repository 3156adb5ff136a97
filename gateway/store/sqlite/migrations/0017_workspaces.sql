CREATE TABLE workspaces (                            -- directories that the gateway makes for sessions
    name     TEXT PRIMARY KEY,                       -- name of the directory
    session  TEXT NOT NULL,
    used     INTEGER NOT NULL,
    released INTEGER NOT NULL DEFAULT 0              -- 1: nobody uses it any more, it is to be removed
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX workspaces_session ON workspaces (session) WHERE released = 0;
CREATE INDEX workspaces_released ON workspaces (released) WHERE released = 1;
CREATE INDEX workspaces_used ON workspaces (used) WHERE released = 0;

-- Until now, the directory of a session had a hash of the session's key as its name: `old_workspace_name` is a
-- function of the program.
INSERT INTO workspaces (name, session, used) SELECT old_workspace_name(key), key, updated FROM sessions;
