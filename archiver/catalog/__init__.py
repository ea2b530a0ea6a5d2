"""The facts, queryable. A catalog can always be made again from the journal.

port      what a catalog has to be, and the place where it is
replicas  what a catalog knows of destinations: the ports of a replay
places    where messages are that are named by their keys
sqlite    the adapter over an SQLite file
"""
