"""Which folder of the archive goes into which folder of a destination: pure decisions.

mapping        all folders placed; no two go into one unless a rule says so
choices        the ways to place one folder, the best first
names          how the destination names folders: separator, prefix, encoding, case
escapes        levels of names that the server cannot have, written so that it can, and read back
special_use    the names of Sent, Drafts, Trash, Junk and Archive in many languages (RFC 6154)
not_ours       mail in the destination that this account neither brought nor adopted
"""
