"""Servers to fill. Folders are created, messages appended, flags changed; our own copies are deleted on request.

port          the interfaces of a destination, by who uses them
open          which adapter: one line for each protocol
imap          an IMAP server
folders       its folders: made, renamed, subscribed to, shared
flags         the flags of its messages
pace          how fast it takes mail
rights        which access rights are to be given or taken away
labels        their labels, at Gmail
folder_map    which folder of the archive goes into which folder of the destination
"""
