"""Maintenance of existing archives.

verify            every message has its octets, every digest matches, the journal is complete
repair            missing or damaged messages are fetched again and put in their place
repair_sources    where lost octets may still exist: other copies, the source, the destination
prune             messages that the archive has are removed from the source
prune_plan        which of them may be, and how many
pruned_list       the list of what was removed
gc                objects that no segment ever named
index_headers     headers of messages that were archived before headers were stored
documents         the text of attached documents, read in a process of its own
index_contents    what messages say, read for searches
forget            messages that are gone from every place of an archive, and never come back
copies_there      what copies of them at destinations are known by
holds             which messages must be kept
auditing          walks a store for a step, with progress and a way to stop
"""
