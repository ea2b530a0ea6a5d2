"""The tables of the catalog itself: its version, the segments that are applied, and the runs with their steps."""

STATEMENTS = """\
CREATE TABLE meta (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE segment (
    number BIGINT NOT NULL,
    run TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE run (
    run TEXT NOT NULL,
    started TEXT NOT NULL,
    finished TEXT,
    status TEXT,
    exit_code INTEGER,
    PRIMARY KEY (run)
);
CREATE TABLE step (
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    result TEXT NOT NULL,
    at TEXT NOT NULL,
    seconds FLOAT,
    PRIMARY KEY (run, step)
);
"""
