"""Which folder of the archive goes into which folder of a destination: pure decisions.

mapping        all folders mapped; no two to the same one unless a rule says so
choices        the ways to map one folder, the best first
names          how the destination names folders: separator, prefix, encoding, case
escapes        escapes for levels of names that the server does not support
special_use    the names of Sent, Drafts, Trash, Junk and Archive in many languages (RFC 6154)
replayed       which folders are replayed by themselves, where labels are folders (Gmail)
not_ours       mail in the destination that this account neither appended nor adopted
"""
