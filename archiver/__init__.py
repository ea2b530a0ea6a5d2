"""The library: moves mail from a server into an archive, exactly, and keeps the books.

The map of the house; imports point down only, and a linter keeps it so:

    pipelines            Luigi, the engine, the command line
    wiring               settings become open adapters; the only module that names them all
    archive  verify  rebuild       the steps: written against ports alone
    part  dealing        one connection's work, and what is left to do for all of them
    survey               one folder opened: epoch, new, changed, vanished
    record               bytes, then journal, then catalog
    orphans  rematch     what a crash left in between; mail known again in a new epoch
    sources  stores  catalogs      the adapters: an IMAP server, a Maildir and its journal, an SQL catalog
    config  credentials            account files; references to secrets
    imap  plan  report  settings   the wire · pure decisions · the report · an account file's shape
    ports  progress                what a step needs; what it tells
    flags  names  message  uidset  pure: the words' small print
    facts  model  errors           the words

Invariants, each with a test that would fail if it broke: bytes in, bytes out; the source is never changed; a
message is done when its bytes are durable and its row is committed; an archive does not lose mail because a
server did; a re-run is a no-op and a crash is a re-run; the books balance; one bad thing stops only itself;
memory is bounded; secrets stay secret; names from a server are hostile; no silent downgrade.
"""
