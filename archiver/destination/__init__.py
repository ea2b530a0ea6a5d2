"""Servers to fill. Folders are created, messages appended, flags changed; our own copies are deleted on request.

port          the interface of a destination
imap          an IMAP server
folder_map    which folder of the archive goes into which folder of the destination
"""
