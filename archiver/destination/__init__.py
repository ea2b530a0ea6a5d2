"""Servers to fill. Folders are made, messages appended, flags changed; our own copies are deleted if asked for.

port          what a destination has to be
imap          an IMAP server
folder_map    which folder of the archive goes into which folder of the destination
"""
