"""The archive step: source to store.

run            all folders, over several connections
plan           pure: what to fetch, and which epoch a folder is in
context        what the connections share
queue          what is left to do, shared by the connections
worker         one connection: folders scanned, messages fetched, batches kept
folder_scan    one folder opened: what is new, changed, vanished (RFC 7162)
scanned        what was found in it
absence        what is no longer shown: gone, or only hidden
rematch        known messages found again under a new UIDVALIDITY, without a download
unrecorded     octets that a crashed run left without facts
others         whether the server gives any message at all
"""
