"""What each fact changes in the tables: the same code live, after a crash, and in a rebuild.

archive         facts of folders, epochs and messages
replica         facts of what a destination holds
destinations    facts of the destinations themselves
executemany     how values and many rows are sent to the database
"""
