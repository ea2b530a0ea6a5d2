"""Servers to archive from. Mail on them is never changed.

port            what a source has to be
imap            an IMAP server: EXAMINE, BODY.PEEK[], QRESYNC where it is offered
retry           any source, wrapped: it reconnects and goes on at the same message, within bounded attempts
same_mailbox    pure: whether two logins lead to one mailbox
"""
