"""An account file's settings become open adapters: the only modules that name them all.

opening       source, store, journal and catalog of an account
catalog       which engine keeps an account's catalog, and where
store         a store and a journal, on a disk or in a bucket
medium        what differs between a disk and a bucket for everybody else
note          which archive is the account's, and whether one may be begun
lease         the lease of an archive in a bucket, held by this process
reading       an archive that is only read, also on a read-only medium
past          an archive as it was
replay        an account's destination
meeting       whether source and destination are the mailboxes they were
sharing       pure: which accounts meet in one mailbox
neighbours    other account files in the same folder
others        other accounts at the same destination
repair        where lost octets may still be
export        a writer, into a directory of its own
gc            garbage collection in a bucket
"""
