"""The line to a server, whatever is spoken over it (POP3, too).

sockets   sockets that connect, speak TLS, and can be cut from another thread or a signal
pace      the pace at which a server sends, with a minimum
line      what is read and written; imaplib's connection over it
"""
