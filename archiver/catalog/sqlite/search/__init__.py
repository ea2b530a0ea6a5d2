"""Messages found by their headers, and by what they say.

messages    the index that searches use
finding     a search as a statement
parts       what an index of every three characters is asked for
texts       which headers may hold a text: a file of its own
inside      a search in texts and names of attachments
bodies      these texts and names, and which of them may hold a text: another file
contents    that file kept up with the catalog
history     whether an index belongs to a catalog
file        how such a file is opened
"""
