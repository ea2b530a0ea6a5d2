"""IMAP extensions that few servers offer, each used only where it is announced.

binary          messages with NULs, as they are (RFC 3516)
nuls            asks for messages again that may lack some
rights          access rights of folders (RFC 4314, RFC 2086)
metadata        what is noted about folders and about the server (RFC 5464)
looking         both, of many folders in few round trips
"""
