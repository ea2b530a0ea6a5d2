"""The facts, queryable. A catalog can always be made again from the journal.

port      what a catalog has to be
sqlite    the adapter over an SQLite file
"""
