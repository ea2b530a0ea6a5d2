"""The tables of messages: where they are, what changed about them, and their headers.

header.id   higher than all earlier ones, also when the row changes: so what is new is known by it
"""

STATEMENTS = """\
CREATE TABLE message (
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    crlf_size BIGINT NOT NULL,
    server_size BIGINT,
    internaldate TEXT,
    arrived BIGINT NOT NULL,
    flags TEXT NOT NULL,
    message_id TEXT,
    header_digest TEXT,
    emailid TEXT,
    matched TEXT,
    stored_run TEXT NOT NULL,
    stored_at TEXT NOT NULL,
    vanished_run TEXT,
    vanished_at TEXT,
    thrid TEXT,
    labels TEXT,
    PRIMARY KEY (epoch, uid),
    FOREIGN KEY(epoch) REFERENCES epoch (number)
) WITHOUT ROWID;
CREATE INDEX ix_message_server_size ON message (server_size);
CREATE INDEX ix_message_digest ON message (digest);
CREATE INDEX ix_message_emailid ON message (emailid) WHERE emailid IS NOT NULL;
CREATE INDEX ix_message_arrived ON message (arrived DESC, epoch, uid DESC);
CREATE INDEX ix_message_unlabelled ON message (epoch)
    WHERE labels IS NULL AND vanished_at IS NULL AND emailid >= 'gm:' AND emailid < 'gm;';
CREATE TABLE flag_change (
    id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    uid BIGINT NOT NULL,
    at TEXT NOT NULL,
    run TEXT NOT NULL,
    flags_before TEXT NOT NULL,
    flags_after TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_flag_change_run ON flag_change (run);
CREATE INDEX ix_flag_change_message ON flag_change (epoch, uid);
CREATE TABLE label_change (
    id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    uid BIGINT NOT NULL,
    at TEXT NOT NULL,
    run TEXT NOT NULL,
    labels_before TEXT NOT NULL,
    labels_after TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_label_change_run ON label_change (run);
CREATE TABLE presence_change (
    id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    uid BIGINT NOT NULL,
    at TEXT NOT NULL,
    run TEXT NOT NULL,
    present BOOLEAN NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_presence_change_run ON presence_change (run);
CREATE INDEX ix_presence_change_message ON presence_change (epoch, uid);
CREATE TABLE header (
    id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    subject TEXT NOT NULL,
    sent TEXT,
    PRIMARY KEY (id),
    UNIQUE (digest)
);
CREATE TABLE pack (
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (digest)
);
CREATE TABLE frame (
    digest TEXT NOT NULL,
    pack TEXT NOT NULL,
    "offset" BIGINT NOT NULL,
    length BIGINT NOT NULL,
    PRIMARY KEY (digest),
    FOREIGN KEY(pack) REFERENCES pack (digest)
) WITHOUT ROWID;
CREATE TABLE quarantine (
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT NOT NULL,
    server_reply TEXT,
    tries INTEGER NOT NULL,
    accepted BOOLEAN NOT NULL,
    since TEXT NOT NULL,
    last_run TEXT,
    PRIMARY KEY (epoch, uid),
    FOREIGN KEY(epoch) REFERENCES epoch (number)
);
"""
