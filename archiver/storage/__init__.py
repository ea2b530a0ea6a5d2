"""Where octets lie.

port             what a store of messages has to be
audit            what an audit of a store reports
maildir          a Maildir++ on a disk
bucket           messages as objects or in packs, in any bucket; the port of a bucket, its probe and its lease
s3               the adapter of a bucket over boto3 and obstore
files            private files, replaced whole; files and directories synced
syncing          a file system synced at once, with word of what it lost (syncfs)
mounts           which file system a path is on (proc(5))
run_lock         one run at a time on one machine (flock)
named_digests    millions of digests in order, in a scratch file
threads          the threads that wait for a bucket
ending           after a signal: requests that still wait are cut
"""
