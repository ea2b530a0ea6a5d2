"""What is done to archives that are there.

verify            every message has its octets, every digest matches, the journal is whole
repair            what is missing or damaged is fetched again and put in its place
repair_sources    where lost octets may still be: other copies, the source, the destination
gc                objects that no segment ever named
index_headers     headers of messages that were archived before headers were kept
auditing          a store walked for a step, with progress and a way to stop
"""
