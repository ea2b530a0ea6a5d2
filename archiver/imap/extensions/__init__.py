"""IMAP extensions that few servers offer, each used only where it is announced.

binary          messages with NULs, as they are (RFC 3516)
"""
