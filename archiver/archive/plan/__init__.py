"""What a run has to do: pure decisions from the server's listing and the catalog.

folders  which folders are opened and why; which are gone
same     whether UIDs still name the same messages: UIDVALIDITY and what else tells epochs apart
amounts  how much there is to fetch, and in which slices
twins    messages that the archive has already

Nothing here contacts a server, so a dry run prints the same plan that a real run follows.
"""
