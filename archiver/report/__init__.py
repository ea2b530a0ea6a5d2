"""The report of a run: the ledger as a value and as JSON, and the same as a page for people."""
