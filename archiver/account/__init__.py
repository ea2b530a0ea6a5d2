"""An account file's settings become open adapters: the only modules that name them all.

account       the one place through which what belongs to an account is opened
archive       its archive, open
note          whether an archive may be begun, and which one is the account's
medium        whether it is on a disk or in a bucket, and where its catalog is
store         a store and a journal, open; what a medium offers that keeps them
disk          an archive on a disk
bucket        an archive in a bucket, and its lease
servers       source and destination, connected to

Operations on an open archive, each a step with what it needs:

archiving     bring the archive up to date with the source, or add files to it
replay        bring the destination up to date with the archive, and compare them
meeting       whether source and destination are the mailboxes they were
restore       messages that somebody asks for go back to a mailbox
export        a writer, into a directory of its own
upkeep        where lost octets may still be; garbage collection in a bucket; messages that are forgotten, or
              removed from the source

Other accounts:

sharing       pure: which accounts meet in one mailbox
others        account files in the same folder, and the catalogs of those at the same destination
"""
