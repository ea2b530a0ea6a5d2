"""Messages appended to one folder, exactly once.

append      in groups, down to the single message that is refused
outcomes    a folder opened again, and a refusal as a fact
prepare     read from the store, proved to be what was stored, put into groups
resolve     what became of messages whose APPEND was not answered
arrivals    which new messages of a folder are the ones that were sent, without their octets
match       which messages of a folder are messages of the archive, by their octets
twins       messages that a destination stored late, after they had been sent again
"""
