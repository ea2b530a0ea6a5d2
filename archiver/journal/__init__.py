"""The journal: a chain of segments from which all else can be made again. docs/formats.md specifies it.

port        what a journal has to be
files       segments as files
bucket      segments as objects
recorder    bytes, then journal, then catalog: the one order in which anything is recorded
rebuild     the catalog from the journal and the store
as_of       what the folders held at a moment of the past
"""
