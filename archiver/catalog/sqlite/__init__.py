"""A catalog in an SQLite file, over SQLAlchemy Core. docs/formats.md specifies the tables.

catalog         the adapter
database        the file: private, local, durable at every commit, its troubles in our errors
schema          tables, and migrations of older catalogs
apply           what each fact changes in the tables
reading         rows of messages as values
replicas        what is known of a destination: targets, copies, intents, refusals
destinations    which destinations there are, and how they are recognised
claims          what other accounts' catalogs say of messages at a destination
gone            copies of what the source no longer has
twins           messages that a destination may have stored twice
holding         how many copies a destination's folders hold
tallies         the equation of every folder
search          messages by what their headers say
runs            which runs there were, and their steps
copying         a private copy for those who may only read
swap            one catalog put in place of another
"""
