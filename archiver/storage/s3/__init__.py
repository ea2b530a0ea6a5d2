"""A bucket over boto3, and over obstore for small new objects.

open          which client reaches a bucket, and why
bucket        the adapter: one streamed PutObject for each object, its digest with it
fast          the same over obstore, several times as fast for small objects
clients       boto3 clients: addresses, retries, signatures
lines         their connections, open to be cut from outside
endpoint      one request at a time, ending in an answer, an expected refusal, or one of our errors
write         an object written, with as strong a check as the endpoint takes
conditions    writing only what is not there, where the endpoint does not see to it
read          an object read; a connection that breaks is resumed where it broke
delete        a thousand objects removed with one request
versions      the versions of a key
failures      what went wrong, with where, what, and what next
"""
