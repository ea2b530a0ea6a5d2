"""The replay: from the archive onto a destination, exactly once, and the proof that it did.

step                 the account: folders placed, passes made over several connections, deletions last
placing              every folder gets its place: mapped, made, recorded, subscribed
target_pass          one folder of the destination brought up to date
sending  withdrawing       messages there; by policy, copies away again
removals             folders that the destination's user removed, and what he removed wanted back
comparing            every copy compared with what the destination shows
parcels  recognise   messages made ready and proved; messages known again by their octets
connection  context  a connection that comes back; what all connections share
as_of                what a destination lacks of the folders as they stood then
following  likeness  repair        pure: flags three-way; octets that are alike; octets altered on purpose
"""
