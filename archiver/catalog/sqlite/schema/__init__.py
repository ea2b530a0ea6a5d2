"""The tables of a catalog, as SQL.

tables        all of them by their names
folders       of sources, folders and their epochs
messages      of messages and their headers, and of the packs that hold them
destinations  of destinations, their folders, and places to which messages are restored
copies        of copies at destinations, and of messages on their way there
keeping       of holds, forgotten messages, and messages removed from the source
runs          of the catalog itself, and of runs

All tables except `run`, `step` and `watch` can be derived from the journal. Names are those of the facts; times are
the facts' ISO texts; sets of flags and paths are JSON, so that any text from a server is kept exactly. A table
`WITHOUT ROWID` is one B-tree, in the order in which it is read.
"""
