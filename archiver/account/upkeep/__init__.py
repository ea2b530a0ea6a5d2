"""The upkeep of an account's archive, wired: each step with what it needs of the settings and the open archive.

mending      repair, from wherever lost octets may still be, and garbage collection in a bucket
forgetting   messages that are forgotten, here and at the destination
copies       what the destination has of them is removed
pruning      messages that the archive has are removed from the source
retention    the rule by which messages are forgotten
"""
