"""A bucket over boto3, and over obstore for small new objects.

open          which client reaches a bucket, and why
bucket        the adapter: one streamed PutObject for each object, with its digest
fast          the same over obstore, several times as fast for small objects
clients       boto3 clients: addresses, boto3's own retries, signatures
lines         their connections, which can be cut from outside, a largest size and a minimum pace of answers
endpoint      one request at a time, retried where boto3 does not: an answer, or one of our errors
write         an object written, with the strongest check that the endpoint supports
conditions    writing only new objects if the endpoint does not ensure it
read          an object read; a broken connection is resumed at the same place
delete        a thousand objects removed with one request
versions      the versions of a key
failures      what went wrong, with where, what, and what next
"""
