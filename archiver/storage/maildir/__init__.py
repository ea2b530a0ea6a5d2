"""A Maildir++ that Dovecot and other programs can serve and read. docs/formats.md specifies it.

store      the adapter
batch      messages written and made durable together
metadata   names, keywords, UIDs and subscriptions, for the programs that read it
tree       its folders, made on demand
format     pure: file names, directories, dovecot-keywords
uidlist    dovecot-uidlist, made and changed piece by piece
names      which names the file system has room for
lookup     a message's file when it is not where it is expected
moving     files moved so that a power cut cannot lose them
erase      erases messages that are forgotten
recover    restores a consistent state after a crash
audit      every message has its file, and every file its message
strays     files that belong to no message
"""
