"""Servers to archive from. Mail on them is never changed.

port            the interface of a source
open            which adapter: one line for each protocol
files           mail that lies in files: Maildirs, mboxes, single files
pop3            a package: a POP3 server
imap            an IMAP server: EXAMINE, BODY.PEEK[], QRESYNC where it is offered
opening         pure: the commands that open a folder, in one flight, and what the answer says
opener          opens folders by them, and the next ones ahead, behind what is in flight
days            pure: messages by the days on which they arrived, for those that cannot be searched for
imports         how files are added to an archive that is not theirs
numbering       UIDs for messages that have names, and no numbers
retry           wraps a source: reconnects and continues at the same message, with a limited number of attempts
limited         messages fetched within the limits of an account
backoff         how long to wait before another attempt at a server, and when to give up
kept            one connection that a step leaves open for the next
spelling        pure: folders that a server spells otherwise than before
same_mailbox    pure: whether two logins lead to the same mailbox
"""
