"""Which folder of the archive goes into which folder of a destination: pure decisions, and their tables."""
