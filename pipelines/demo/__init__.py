"""The demo: an account archived and moved, on servers inside this process.

run        the directory, the account file, the commands
tour       the steps, in order, each checked
mail       the sample messages and what happens to them
mailbox    the source, and a record of all that was ever in it
server     an IMAP server in a thread (pymap)
"""
