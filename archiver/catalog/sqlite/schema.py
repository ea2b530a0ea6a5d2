"""The tables of a catalog.

All tables except `run`, `step` and `watch` can be derived from the journal. Names are those of the facts; times are
the facts' ISO texts; sets of flags and paths are JSON, so that any text from a server is kept exactly. A table
`WITHOUT ROWID` is one B-tree, in the order in which it is read.

folder.gone_at      since when it has no mail at the source, because it is no longer listed or cannot be opened;
                    NULL: it has
epoch.source        the first row of `archive` that names its source, 0 if there is none; the same in
                    distinct_source.source
numbering.uidnext   the next UID for a message that has a name at the source and no number; its names are in `name`
restore_place.port  NULL for the account's own source, at any port
restore_place.folder    below which folder messages go there; NULL: to the folders that they were in
restore.at          when the message was asked for first, and last_at when last
header.id           higher than all earlier ones, also when the row changes: so what is new is known by it
address.port        NULL if it was not recorded: in journals from before 0.4.0
target.renaming     the name that it is about to get; NULL: it keeps its name
target.compared_... the newest `compared`: its status, with HIGHESTMODSEQ as `modseq`; NULL: not known
rights.entries      a list of [identifier, rights]; NULL: this user may not read them, and `mine` is its own
annotations.folder  0: those of the server
granted             at a destination: rights as `granted` has them, and what it refused to give
prune.pruned_at     when we had removed it from the source; NULL: it is not known whether we did
prune.listed        it is in a list of what was removed
copy.accepted_at    when the user accepted it as the destination shows it
forget.erased_at    when the octets were gone; NULL: something is left to be done. `kept` has what could not be
                    removed
forgotten_place.gone_at when the source no longer had it; NULL: it has
copy.labels         those that the destination showed when `source_labels`, the archive's, were last replayed there,
                    and `lost_labels` those that it does not keep; NULL: never replayed
copy.compared       true: compared since the newest `copied`, and as recorded; NULL: not compared
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_STATEMENTS = """\
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
CREATE TABLE hold (
    number BIGINT NOT NULL,
    folders TEXT NOT NULL,
    addresses TEXT NOT NULL,
    reason TEXT NOT NULL,
    "by" TEXT NOT NULL,
    at TEXT NOT NULL,
    ended_reason TEXT,
    ended_by TEXT,
    ended_at TEXT,
    PRIMARY KEY (number)
);
CREATE TABLE mark (
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    "by" TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE TABLE forget (
    number BIGINT NOT NULL,
    reason TEXT NOT NULL,
    "by" TEXT NOT NULL,
    at TEXT NOT NULL,
    listed TEXT,
    kept TEXT,
    erased_at TEXT,
    PRIMARY KEY (number)
);
CREATE TABLE forgotten (
    digest TEXT NOT NULL,
    forget BIGINT NOT NULL,
    PRIMARY KEY (digest),
    FOREIGN KEY(forget) REFERENCES forget (number)
) WITHOUT ROWID;
CREATE TABLE forgotten_place (
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    crlf_size BIGINT NOT NULL,
    arrived BIGINT NOT NULL,
    gone_at TEXT,
    PRIMARY KEY (epoch, uid),
    FOREIGN KEY(epoch) REFERENCES epoch (number)
) WITHOUT ROWID;
CREATE INDEX ix_forgotten_place_digest ON forgotten_place (digest);
CREATE TABLE prune (
    epoch BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    marked BOOLEAN NOT NULL,
    "by" TEXT NOT NULL,
    run TEXT NOT NULL,
    at TEXT NOT NULL,
    pruned_at TEXT,
    listed BOOLEAN NOT NULL,
    PRIMARY KEY (epoch, uid)
) WITHOUT ROWID;
CREATE INDEX ix_prune_begun ON prune (epoch) WHERE pruned_at IS NULL;
CREATE INDEX ix_prune_unlisted ON prune (epoch) WHERE pruned_at IS NOT NULL AND NOT listed;
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

_TABLES: dict[str, list[str]] = {}
for _statement in _STATEMENTS.split(";\n"):
    if _found := re.match(r"CREATE TABLE (\w+)|CREATE (?:UNIQUE )?INDEX \w+ ON (\w+)", _statement):
        _TABLES.setdefault(_found[1] or _found[2], []).append(_statement)

TABLES = tuple(_TABLES)
"""The names of all tables, each after those that it refers to."""


def creating(tables: Iterable[str] = TABLES) -> list[str]:
    """The statements that create these tables and their indices."""
    return [statement for table in tables for statement in _TABLES[table]]
