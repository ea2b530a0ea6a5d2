"""Archives mail from an IMAP server, puts it onto another server, and proves that nothing was lost.

Each package is one concern. Imports point only down this list, which import-linter enforces:

account                             opens what an account file names: servers, store, journal, catalog
archive                             source to store
replay                              store to destination
upkeep                              verify, repair, collect garbage, index headers
export                              folders as files for other programs
report                              what a run did, as JSON and as a page
journal                             the facts on disk or in a bucket; bytes, then journal, then catalog
source  destination  catalog        a server to read, a server to fill, the facts in queryable form
fleet                               what is known of many accounts, and who works on which
imap  storage                       the wire of a mail server; where octets are stored: Maildir, bucket, S3
login                               ways to log in, whatever the protocol
config  facts                       account files and secrets; what is recorded and what can be queried
mail                                pure: messages, folder names, flags, dates
errors  events  control             what can go wrong; what a step reports; how it is stopped and kept from waiting

Each port is a Protocol in its package's port.py (mail/reader.py for what source and destination share), with one
contract suite in tests/contracts that every adapter passes. Calls are synchronous. A source or destination
belongs to one thread; a store, a journal and a catalog may be called from several threads at once.

Invariants, each with a test that would fail if it broke: bytes in, bytes out; the source is never changed; a
message is done when its bytes are durable and its row is committed; an archive does not lose mail because a
server did; a message arrives at a destination once; a re-run is a no-op and a crash is a re-run; the books
balance; one bad thing stops only itself; memory is bounded; secrets stay secret; names from a server are
hostile; no silent downgrade.
"""
