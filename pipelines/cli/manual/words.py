"""What no command knows of itself: the environment, and files."""

from __future__ import annotations

#: What the program, or a library that it uses, looks up in the environment.
ENVIRONMENT: dict[str, str] = {
    "ANY NAME": 'Passwords, where an account file refers to a variable: password = { env = "ALICE_PASSWORD" }.',
    "NO_COLOR, FORCE_COLOR": "No colours, also on a terminal; colours, also elsewhere.",
    "TTY_COMPATIBLE": "Set to 1, the output is treated as a terminal.",
    "COLUMNS": "How wide tables may be.",
    "TZ": "The time zone in which dates are read and shown.",
    "TMPDIR": "Where a page of `archiver report` is made if the archive cannot be written.",
    "XDG_CACHE_HOME": "Where locks of tokens in a keyring are kept; else ~/.cache.",
    "BROWSER": "The browser that `archiver report --open` opens.",
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY": "Proxies for tokens and buckets. Mail servers are contacted directly.",
    "SSL_CERT_FILE, SSL_CERT_DIR": "The authorities to trust, instead of the system's.",
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION, AWS_CA_BUNDLE": (
        "As for every program that uses boto3: credentials of buckets, and where they are."
    ),
    "PGPASSFILE, PGSERVICEFILE, PGSSLROOTCERT": "As for psql: credentials of a fleet's ledger in PostgreSQL.",
    "LUIGI_CONFIG_PATH": "A configuration of Luigi. No other one is read, except below /etc/luigi.",
    "_ARCHIVER_COMPLETE": (
        "Set to bash_source, zsh_source or fish_source, `archiver` prints what completes its lines in that shell."
    ),
}

#: What there is beside the archives.
FILES: dict[str, str] = {
    "configs/alice.toml": ("An account file, for the account alice; archiver.toml(5). The folder may be any."),
    "configs/defaults.toml": "What the accounts of the folder, and of its subfolders, have in common.",
    "configs/alice.archive": "Written by the first run: which archive belongs to the account.",
}

#: What there is in an archive, below its path in the account file.
ARCHIVE_FILES: dict[str, str] = {
    "Maildir/": "The messages of the account, as they are at the source.",
    "vanished/": "Messages that the source no longer has.",
    "journal/": "The facts about them; with the messages, all that a backup has to hold.",
    "catalog.sqlite": "The same facts, for queries. `archiver rebuild` makes it.",
    "runs/RUN/report.json": "What a run did; report.html next to it, if it was asked for.",
    "lock": "Held by a run that is at work.",
}
