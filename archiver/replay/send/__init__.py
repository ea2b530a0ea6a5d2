"""Messages appended to one folder, exactly once.

append      sent in groups, down to the single message that is refused
copies      accepted messages found in the folder, and recorded
refused     what follows when a message is refused by itself
outcomes    reopening a folder, and the fact of a refusal
prepare     read from the store, verified, put into groups
resolve     the outcome of messages whose APPEND was not answered
arrivals    which new messages of a folder are the ones that were sent, without their octets
match       which messages of a folder are messages of the archive, by their octets
flags       flags that changed, which the copies get afterwards
labels      Gmail's labels, which the copies get afterwards
twins       messages that a destination stored late, after they had been sent again
"""
