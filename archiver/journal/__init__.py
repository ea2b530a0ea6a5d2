"""The journal: a chain of segments from which the catalog can be rebuilt. docs/formats.md specifies it.

port        the port of a journal
files       segments as files
bucket      segments as objects
numbering   UIDs for messages that have names at their source, and no numbers
recorder    bytes, then journal, then catalog: the one order in which everything is recorded
rebuild     the catalog from the journal and the store
as_of       what the folders held at a past moment
"""
