"""The facts in queryable form. A catalog can always be rebuilt from the journal.

port      the interfaces of a catalog, and of the place where it is stored
replicas  what a catalog knows about destinations: the interfaces that a replay uses
keeping   what must be kept, and what was forgotten: the interface
pruning   what we removed from the source: the interface
places    finds the places of messages by their keys
sqlite    the adapter over an SQLite file
"""
