"""What a catalog knows of destinations, as reading from its tables.

replicas        the adapter: targets, copies, intents, refusals
queries         which rows they are, and rows as values
counts          what became of each folder's messages, and what a destination does not keep
gone            copies of what the source no longer has
twins           messages that a destination may have stored twice
holding         how many copies a destination's folders hold
destinations    which destinations there are, and how they are recognised
"""
