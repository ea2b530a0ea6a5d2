"""What a catalog knows of destinations, as reading from its tables.

replicas        the adapter, by subject
folders         the folders of a destination, and what they hold in all
messages        the replicas in a folder
changes         what has to be looked at or changed in a folder
pending         what a folder lacks, what was being sent, what was refused
queries         which rows they are, and rows as values
counts          what became of each folder's messages, and what a destination does not keep
gone            replicas of what the source no longer has
twins           messages that a destination may have stored twice
destinations    which destinations there are, and how they are recognised
"""
