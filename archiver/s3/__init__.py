"""A bucket: what may be asked of one, and how it is asked over the wire."""
