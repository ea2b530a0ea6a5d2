"""The tables of destinations and their folders, and of what is restored to a place.

address.port        NULL if it was not recorded: in journals from before 0.4.0
distinct_source.source  as epoch.source
target.renaming     the name that it is about to get; NULL: it keeps its name
target.compared_... the newest `compared`: its status, with HIGHESTMODSEQ as `modseq`; NULL: not known
granted             rights at a destination as `granted` has them, and what it refused to give
restore_place.port  NULL for the account's own source, at any port
restore_place.folder    below which folder messages go there; NULL: to the folders that they were in
restore.at          when the message was asked for first, and last_at when last
"""

STATEMENTS = """\
CREATE TABLE destination (
    number BIGINT NOT NULL,
    host TEXT NOT NULL,
    user TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE address (
    id INTEGER NOT NULL,
    destination BIGINT NOT NULL,
    host TEXT NOT NULL,
    user TEXT NOT NULL,
    port INTEGER,
    at TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(destination) REFERENCES destination (number)
);
CREATE TABLE distinct_source (
    destination BIGINT NOT NULL,
    source INTEGER NOT NULL,
    PRIMARY KEY (destination, source),
    FOREIGN KEY(destination) REFERENCES destination (number)
);
CREATE TABLE mapped (
    destination BIGINT NOT NULL,
    folder BIGINT NOT NULL,
    raw BLOB NOT NULL,
    path TEXT NOT NULL,
    rules TEXT NOT NULL,
    subscribed BOOLEAN,
    PRIMARY KEY (destination, folder),
    FOREIGN KEY(destination) REFERENCES destination (number),
    FOREIGN KEY(folder) REFERENCES folder (number)
);
CREATE TABLE target (
    number BIGINT NOT NULL,
    destination BIGINT NOT NULL,
    raw BLOB NOT NULL,
    uidvalidity BIGINT NOT NULL,
    reason TEXT NOT NULL,
    began_at TEXT NOT NULL,
    ended_at TEXT,
    uidnext BIGINT,
    messages BIGINT,
    renaming BLOB,
    compared_uidnext BIGINT,
    compared_messages BIGINT,
    compared_modseq BIGINT,
    compared_size BIGINT,
    PRIMARY KEY (number),
    FOREIGN KEY(destination) REFERENCES destination (number)
);
CREATE INDEX ix_target_destination ON target (destination);
CREATE TABLE granted (
    destination BIGINT NOT NULL,
    folder BIGINT NOT NULL,
    raw BLOB NOT NULL,
    entries TEXT NOT NULL,
    refused TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (destination, folder),
    FOREIGN KEY(destination) REFERENCES destination (number),
    FOREIGN KEY(folder) REFERENCES folder (number)
);
CREATE TABLE restore_place (
    number BIGINT NOT NULL,
    host TEXT NOT NULL,
    user TEXT NOT NULL,
    port INTEGER,
    folder TEXT,
    PRIMARY KEY (number),
    FOREIGN KEY(number) REFERENCES destination (number)
);
CREATE TABLE restore (
    place BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    asked_by TEXT NOT NULL,
    run TEXT NOT NULL,
    at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    PRIMARY KEY (place, epoch, uid),
    FOREIGN KEY(place) REFERENCES destination (number)
) WITHOUT ROWID;
CREATE INDEX ix_restore_message ON restore (epoch, uid);
"""
