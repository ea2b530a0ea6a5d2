"""What a catalog knows about destinations, read from its tables.

replicas        the adapter, by subject
folders         the folders of a destination, with totals
messages        the replicas in a folder
changes         what has to be checked or changed in a folder
pending         what is missing in a folder, what was being sent, what was refused
restores        what was given back because somebody asked for it
queries         the queries behind these, and rows as values
counts          the outcome for each folder's messages, and what a destination does not keep
gone            replicas of messages that the source no longer has
pruned          what we removed from the source ourselves
twins           messages that a destination may have stored twice
sharing         access rights and annotations of folders, and what of them was given
destinations    the known destinations, and how they are recognised
claims          what another account's catalog records about a destination
"""
