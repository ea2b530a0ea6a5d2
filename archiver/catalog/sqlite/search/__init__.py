"""Messages found by their headers, and by what they say.

messages    the index that searches use
finding     a search as a statement
texts       which headers may hold a text: a file of its own
parts       what an index of every three characters is asked for
inside      a search in texts and names of attachments
bodies      these texts and names, and an index of their words
body_index  its file: read, made, changed by one process, removed
document    what a message says, as a search compares it
words       how a text is cut into words
vocabulary  the words, found by any part of them
asked       what the index of words is asked for
contents    that file kept up with the catalog
history     whether an index belongs to a catalog
file        how such a file is opened
"""
