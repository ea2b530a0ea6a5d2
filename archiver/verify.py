"""The verify step: every row has its bytes, every digest matches, and no file is a stranger."""
