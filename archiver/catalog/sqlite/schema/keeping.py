"""The tables of what must be kept, what was forgotten, and what was removed from the source.

forget.erased_at        when the octets were gone; NULL: something is left to be done. `kept` has what could not be
                        removed
forgotten_place.gone_at when the source no longer had it; NULL: it has
forgotten_copy          copies at destinations, by what they are known: "octets", "canonical", "size" or "any", with
                        the digest of that; gone_at: when they were not there any more
prune.pruned_at         when we had removed it from the source; NULL: it is not known whether we did
prune.listed            it is in a list of what was removed
"""

STATEMENTS = """\
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
CREATE TABLE forgotten_copy (
    target BIGINT NOT NULL,
    target_uid BIGINT NOT NULL,
    forget BIGINT NOT NULL,
    form TEXT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    gone_at TEXT,
    PRIMARY KEY (target, target_uid),
    FOREIGN KEY(target) REFERENCES target (number),
    FOREIGN KEY(forget) REFERENCES forget (number)
) WITHOUT ROWID;
CREATE INDEX ix_forgotten_copy_left ON forgotten_copy (forget) WHERE gone_at IS NULL;
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
"""
