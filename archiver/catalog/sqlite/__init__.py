"""A catalog in an SQLite file, over SQLAlchemy Core. docs/formats.md specifies the tables.

place           where a catalog is: opened, made again, copied, put aside
catalog         the adapter: which segments are applied
account         whose account it is, its folders and their epochs
messages        the messages of all folders, and the packs that hold them
database        the file: private, local, durable at every commit, its troubles in our errors
schema          the tables
migrations      how an older catalog becomes a newer one
apply           what each fact changes in the tables
reading         rows of messages as values
replica         what is known of destinations
claims          what another account's catalog says of messages at a destination
tallies         the equation of every folder
search          messages by what their headers say
runs            which runs there were, and their steps
copying         a private copy for those who may only read
swap            one catalog put in place of another
"""
