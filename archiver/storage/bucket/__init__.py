"""Messages in a bucket of any make. docs/formats.md specifies keys, packs and the lease; docs/s3.md is for admins.

port               what a bucket has to be: eight methods
objects            the store in which each message is an object, named by its digest
objects_audit      its audit: two walks in the order of digests
packs              the store in which small messages share a pack
pack_batch         messages on their way into packs
pack_format        a pack as octets: compressed frames and an index (RFC 8878)
pack_reader        packs read, written, and found again after a crash
packs_audit        their audit
prefetch           small messages fetched before they are asked for
keys               the keys of messages
order              a listing whose order is checked, not trusted
spool              large messages on their way from a spool file
object_settings    how an object is kept: class, encryption, lock; and what the endpoint says of it
probe              what an endpoint really does, tried once and written down
lease              one machine at a time writes, with a fencing number
"""
