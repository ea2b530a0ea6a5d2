"""The wire: an IMAPClient session read and written by our own hands.

imapclient connects, negotiates TLS and keeps the connection's state; lists, statuses, searches and messages
are read here, on octets, because its public calls fail on odd names, on ranges, and on large folders.
"""
