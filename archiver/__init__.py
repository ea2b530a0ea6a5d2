"""The library: moves mail from a server into an archive, from there onto another server, and keeps the books.

The map of the house; imports point down only, and a linter keeps it so:

    pipelines            Luigi, the engine, the command line
    wiring_repair  wiring_replay  wiring_export        settings become open adapters;
    wiring_past  wiring  wiring_lease  wiring_store    the only modules that name them all
    archive  replay  verify  repair  rebuild  indexing    the steps: written against ports alone
    export               folders as files for other programs
    part  dealing        one connection's work, and what is left to do for all of them
    survey               one folder opened: epoch, new, changed, vanished
    record               bytes, then journal, then catalog
    orphans  origins  rematch    what a crash left; where lost octets may be; mail known again in a new epoch
    past                 what the folders held at a moment, from the journal
    sources  destinations          the adapters: an IMAP server to read, one to write,
    stores  catalogs               a Maildir or a bucket with its journal, an SQL catalog
    config  credentials            account files; references to secrets
    imap  s3                       the wires: a mail server, a bucket
    plan  folder_map               pure decisions: what to fetch, which folder goes where
    report  settings               the report · an account file's shape
    ports  destination_ports       what a step needs
    structure  headers             what a message says of itself, for people
    audit  flags  names  message  uidset  moment  progress  refusals    pure: the words' small print
    facts  copy_facts  copies  queries  model  errors               the words

Invariants, each with a test that would fail if it broke: bytes in, bytes out; the source is never changed; a
message is done when its bytes are durable and its row is committed; an archive does not lose mail because a
server did; a message arrives at a destination once; a re-run is a no-op and a crash is a re-run; the books
balance; one bad thing stops only itself; memory is bounded; secrets stay secret; names from a server are
hostile; no silent downgrade.
"""
