"""A POP3 server (RFC 1939) as a source. It has one folder, its maildrop, which is INBOX here; no flags, no dates.

Nothing is ever deleted there: DELE is not sent.

replies     what -ERR means, as one of our errors: response codes (RFC 2449, RFC 3206) and prose
session     one connection: commands, several in one flight where the server allows it, and multi-line answers
login       from settings to a logged-in session: STLS (RFC 2595), USER and PASS, AUTH (RFC 5034)
maildrop    pure: what STAT, LIST and UIDL say, and whether they agree
naming      which UID each message of the maildrop has: by its UIDL, or by its octets where no UIDL can be relied on
retrieve    the messages, streamed, several RETR in flight
source      the source
"""
