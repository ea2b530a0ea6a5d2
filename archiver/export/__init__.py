"""Exports folders of an archive, as they are or as they were at a past moment, for other programs.

run        every message read, verified, and passed to a writer; damaged ones are listed
writer     the port of a writer
maildir    a Maildir++
mbox       one mbox for each folder (RFC 4155)
mboxrd     pure: quoting that restores every octet
eml        one file for each message
index      the index of a folder: one line of JSON for each message
paths      which folder becomes which file or directory
"""
