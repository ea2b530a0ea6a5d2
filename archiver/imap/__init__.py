"""The wire to an IMAP server, for sources and destinations (RFC 3501, RFC 9051).

imapclient connects and keeps the connection's state. Lists, statuses, searches and messages are read here, on
octets, because its public calls fail on odd names, on ranges, and on large folders.

line            the socket: dialled, secured by TLS, cut from outside at any moment, with a minimum pace
session         commands sent and responses read
tokens          atoms, strings, literals and lists, tolerant of what real servers send
replies         what a NO, BAD or BYE means, as one of our errors (RFC 5530)
limits          whether a reply says that the server wants less of us, and for how long
login           from a server's settings to a logged-in session: TLS, certificates, authentication
auth            ways to log in: from what a server offers to what we answer
capabilities    what a server says of itself (RFC 2971), for people
listing         all folders with their status in few round trips (RFC 5819, RFC 5258, RFC 6154)
folder          the open folder: UIDs, attributes, headers, what changed (RFC 7162)
fetch           messages, several windows of UIDs in flight
append          messages onto the wire (RFC 3502, RFC 4315, RFC 7888)
"""
