"""Folders of an archive, as they are or as they were, for other programs.

run        every message read, proved, and given to a writer; what is damaged is listed
writer     what a form has to be
maildir    a Maildir++
mbox       one mbox for each folder (RFC 4155)
mboxrd     pure: quoting that comes back octet for octet
eml        one file for each message
index      a line of JSON for each message beside them
paths      which folder becomes which file or directory
"""
