"""The wire to an IMAP server, for sources and destinations (RFC 3501, RFC 9051).

imapclient connects and keeps the connection's state. Lists, statuses, searches and messages are read here, as
bytes, because imapclient's public calls fail on odd names, on ranges and on large folders.

wire            the line: connecting, TLS, a minimum pace, and closing from another thread or a signal
session         sends commands and reads responses
answers         which rows of an answer bring something that was asked for; how much of all answers is kept
tokens          atoms, strings, literals and lists, tolerant of what real servers send
replies         what a NO, BAD or BYE means, as one of our errors (RFC 5530)
limits          whether a reply is about a rate or connection limit, and how long to wait
connecting      from a server's settings to a session that is secured as they say: TLS, certificates
login           from there to a logged-in session, by the ways of `archiver.login`
capabilities    what a server says about itself (RFC 2971), for people
listing         all folders and their status in few round trips (RFC 5819, RFC 5258, RFC 6154)
folder          the open folder: UIDs, attributes, headers, changes (RFC 7162)
fetch_row       one row of FETCH, with whatever a server adds
fetch           downloads messages, with several commands in flight
coming          messages that were sent along when their folder was opened
append          uploads messages (RFC 3502, RFC 3516, RFC 4315, RFC 7888)
extensions      what few servers offer: octets as they are, rights, annotations
"""
