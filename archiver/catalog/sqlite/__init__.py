"""A catalog in an SQLite file. docs/formats.md specifies the tables.

place           where a catalog is: opened, replaced, copied
catalog         the adapter: which segments are applied
account         the account's identity, its folders and their epochs
messages        the messages of all folders, and the packs that hold them
database        the file: private, local, durable at every commit; SQLite's errors as ours
schema          the tables
migrations      how an older catalog becomes a newer one
apply           what each fact changes in the tables
reading         rows of messages converted to values
replica         what is known about destinations
keeping         what must be kept, and what was forgotten
tallies         the equation of every folder
search          messages found by their headers
runs            the list of runs, and their steps
copying         a private copy for users without write access
swap            one catalog replaced by another
"""
