"""What each fact changes in the tables: the same code in a run, after a crash, and in a rebuild.

archive         facts in their order; those of the archive, its folders and its epochs
messages        facts of messages: stored, packed, flagged, vanished, in quarantine
replica         facts about what a destination holds
destinations    facts of the destinations themselves
access          facts of access rights and annotations
keeping         facts of what must be kept, and of what was forgotten
pruning         facts of what we remove from the source
tries           how failures of one message add up
statements      how a row is inserted or updated, and values as the tables hold them
"""
