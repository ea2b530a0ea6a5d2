"""The tables of copies at destinations, and of messages on their way there.

copy.accepted_at    when the user accepted it as the destination shows it
copy.labels         those that the destination showed when `source_labels`, the archive's, were last replayed there,
                    and `lost_labels` those that it does not keep; NULL: never replayed
copy.compared       true: compared since the newest `copied`, and as recorded; NULL: not compared
"""

STATEMENTS = """\
CREATE TABLE copy (
    target BIGINT NOT NULL,
    target_uid BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    how TEXT NOT NULL,
    source_flags TEXT NOT NULL,
    flags TEXT NOT NULL,
    lost TEXT NOT NULL,
    size BIGINT,
    repaired TEXT NOT NULL,
    sent_digest TEXT,
    dated BOOLEAN NOT NULL,
    likeness TEXT,
    run TEXT NOT NULL,
    at TEXT NOT NULL,
    removed_at TEXT,
    removed_by TEXT,
    marked BOOLEAN NOT NULL,
    accepted_at TEXT,
    compared BOOLEAN,
    source_labels TEXT,
    labels TEXT,
    lost_labels TEXT,
    PRIMARY KEY (target, target_uid),
    FOREIGN KEY(target) REFERENCES target (number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX ix_copy_message ON copy (epoch, uid, target);
CREATE TABLE intent (
    target BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    uidnext BIGINT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (target, epoch, uid),
    FOREIGN KEY(target) REFERENCES target (number)
);
CREATE TABLE watch (
    target BIGINT NOT NULL,
    clock TEXT NOT NULL,
    began FLOAT NOT NULL,
    PRIMARY KEY (target)
);
CREATE TABLE refusal (
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    target BIGINT NOT NULL,
    refusal TEXT NOT NULL,
    reason TEXT NOT NULL,
    server_reply TEXT,
    date TEXT,
    subject TEXT,
    tries INTEGER NOT NULL,
    accepted BOOLEAN NOT NULL,
    last_run TEXT,
    PRIMARY KEY (epoch, uid, target),
    FOREIGN KEY(target) REFERENCES target (number)
);
CREATE TABLE attempt (
    target BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    uidnext BIGINT NOT NULL,
    times INTEGER NOT NULL,
    at TEXT NOT NULL,
    silent BOOLEAN NOT NULL,
    PRIMARY KEY (target, epoch, uid),
    FOREIGN KEY(target) REFERENCES target (number)
);
CREATE TABLE twin (
    target BIGINT NOT NULL,
    target_uid BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    flags TEXT NOT NULL,
    certain BOOLEAN NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (target, target_uid),
    FOREIGN KEY(target) REFERENCES target (number)
);
"""
