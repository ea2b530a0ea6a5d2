"""The archive step: source to store.

run            all folders, over several connections
plan           pure: which folders are opened, what is fetched, which mail the archive has already
context        what the connections share
queue          the work that is left, shared by the connections
openings       how folders will be opened, and which are announced to the source ahead
worker         one connection: scans folders, fetches messages, keeps its batch
records        what it records: each message's outcome, and how a folder's pass ended
folder_scan    one folder opened: what is new, changed, vanished (RFC 7162)
flag_changes   which flags changed since the last pass
scanned        the result of a folder scan
absence        messages that the server no longer shows: gone, or only hidden
same_mail      messages that the server shows in several folders, fetched once (RFC 8474, Gmail)
rematch        known messages matched under a new UIDVALIDITY, without a download
access         access rights and annotations of folders
unrecorded     files and objects that a crashed run stored but did not record
delivery       whether the server delivers any message at all
"""
