"""Messages in a bucket of any make. docs/formats.md specifies keys, packs and the lease; docs/s3.md is for admins.

port               the port of a bucket
objects            the store in which each message is an object, named by its digest
objects_audit      its audit: a merge of two lists in the order of digests
packs              the store in which small messages share a pack
pack_batch         messages on their way into packs
pack_format        a pack as octets: compressed frames and an index (RFC 8878)
pack_reader        packs read, written, and found again after a crash
packs_audit        their audit
prefetch           small messages fetched before they are needed
erase              erases messages that are forgotten, and packs them from among others
keys               the keys of messages
order              a listing whose order is checked, not trusted
spool              large messages on their way from a spool file
object_settings    how objects are stored: class, encryption, lock; requested and read back
probe              what an endpoint really supports, tested once and recorded
lease              one machine at a time writes, with a fencing token
"""
