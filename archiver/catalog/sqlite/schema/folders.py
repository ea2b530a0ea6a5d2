"""The tables of the archive's sources, their folders, and the epochs of these.

folder.gone_at      since when it has no mail at the source, because it is no longer listed or cannot be opened;
                    NULL: it has
epoch.source        the first row of `archive` that names its source, 0 if there is none
numbering.uidnext   the next UID for a message that has a name at the source and no number; its names are in `name`
rights.entries      a list of [identifier, rights]; NULL: this user may not read them, and `mine` is its own
annotations.folder  0: those of the server
"""

STATEMENTS = """\
CREATE TABLE archive (
    id INTEGER NOT NULL,
    archive_id TEXT NOT NULL,
    account TEXT NOT NULL,
    protocol TEXT NOT NULL,
    host TEXT NOT NULL,
    user TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE folder (
    number BIGINT NOT NULL,
    raw BLOB NOT NULL,
    path TEXT NOT NULL,
    delimiter TEXT,
    directory TEXT NOT NULL,
    attributes TEXT NOT NULL,
    subscribed BOOLEAN NOT NULL,
    listed BOOLEAN NOT NULL,
    first_seen TEXT NOT NULL,
    gone_at TEXT,
    gone_run TEXT,
    PRIMARY KEY (number),
    UNIQUE (raw),
    UNIQUE (directory)
);
CREATE TABLE epoch (
    number BIGINT NOT NULL,
    folder BIGINT NOT NULL,
    source INTEGER NOT NULL,
    uidvalidity BIGINT NOT NULL,
    generation INTEGER NOT NULL,
    reason TEXT NOT NULL,
    began_at TEXT NOT NULL,
    ended_at TEXT,
    uidnext BIGINT,
    highestmodseq BIGINT,
    messages BIGINT,
    filter TEXT,
    status_size BIGINT,
    completed_run TEXT,
    PRIMARY KEY (number),
    FOREIGN KEY(folder) REFERENCES folder (number)
);
CREATE INDEX ix_epoch_folder ON epoch (folder);
CREATE TABLE numbering (
    folder BIGINT NOT NULL,
    uidvalidity BIGINT NOT NULL,
    uidnext BIGINT NOT NULL,
    PRIMARY KEY (folder, uidvalidity),
    FOREIGN KEY(folder) REFERENCES folder (number)
) WITHOUT ROWID;
CREATE TABLE name (
    folder BIGINT NOT NULL,
    uidvalidity BIGINT NOT NULL,
    name TEXT NOT NULL,
    uid BIGINT NOT NULL,
    PRIMARY KEY (folder, uidvalidity, name),
    FOREIGN KEY(folder) REFERENCES folder (number)
) WITHOUT ROWID;
CREATE TABLE pass (
    run TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    segment INTEGER NOT NULL,
    on_server BIGINT NOT NULL,
    excluded BIGINT NOT NULL,
    error TEXT,
    at TEXT NOT NULL,
    shown BIGINT,
    PRIMARY KEY (run, epoch),
    FOREIGN KEY(epoch) REFERENCES epoch (number)
);
CREATE INDEX ix_pass_newest ON pass (epoch, segment);
CREATE TABLE rights (
    folder BIGINT NOT NULL,
    entries TEXT,
    mine TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (folder),
    FOREIGN KEY(folder) REFERENCES folder (number)
);
CREATE TABLE annotations (
    folder BIGINT NOT NULL,
    entries TEXT NOT NULL,
    left_out BIGINT,
    at TEXT NOT NULL,
    PRIMARY KEY (folder)
);
"""
