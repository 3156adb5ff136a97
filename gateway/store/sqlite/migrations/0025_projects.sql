CREATE TABLE projects (                              -- a run belongs to one by its label `project`
    seq     INTEGER PRIMARY KEY,                     -- order of creation
    slug    TEXT NOT NULL UNIQUE,
    name    TEXT NOT NULL,
    note    TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;

CREATE TABLE project_tally (                         -- runs by that label and status, kept with every move, see tally.py
    project TEXT NOT NULL,
    status  TEXT NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (project, status)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX labels_project ON labels (run) WHERE name = 'project';

CREATE TRIGGER run_leaves_project BEFORE DELETE ON runs
WHEN EXISTS (SELECT 1 FROM labels WHERE name = 'project' AND run = old.seq) BEGIN
    UPDATE project_tally SET n = n - 1
        WHERE project = (SELECT value FROM labels WHERE name = 'project' AND run = old.seq) AND status = old.status;
    DELETE FROM project_tally
        WHERE project = (SELECT value FROM labels WHERE name = 'project' AND run = old.seq) AND status = old.status
        AND n = 0;
END;

INSERT INTO project_tally
    SELECT value, status, count(*) FROM labels JOIN runs ON runs.seq = labels.run WHERE name = 'project'
    GROUP BY value, status;
