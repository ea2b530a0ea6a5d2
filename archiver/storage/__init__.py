"""Where the octets of messages are stored.

port             the port of a store of messages
audit            the findings of an audit of a store
maildir          a Maildir++ on a disk
bucket           messages as objects or in packs, in any bucket; the port of a bucket, its probe and its lease
s3               the adapter of a bucket over boto3 and obstore
files            private files, replaced atomically; files and directories synced
syncing          a whole file system synced, with its write errors (syncfs)
ownership        who else can change what lies there
mounts           which file system a path is on (proc(5))
run_lock         one run at a time on one machine (flock)
scratch_lock     which scratch files a living process still uses (flock)
named_digests    millions of digests in order, in a scratch file
threads          the threads that wait for a bucket
ending           after a signal: requests that still wait are cancelled
"""
