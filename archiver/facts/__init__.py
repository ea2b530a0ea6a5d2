"""What an archive records, and the values of queries and their results. docs/formats.md specifies the JSON.

archive        facts of folders, epochs and messages
access         access rights and annotations: the values, and their facts
destination    facts of what was sent to a destination, arrived there, or was refused
codec          facts as JSON lines, and back
conversion     a value of a field in JSON, checked by the field's type
records        small structs read back from JSON
segment        facts as the octets of a journal segment, and back
pruning        facts of messages that we remove from the source
keeping        facts of what must be kept, and of what was forgotten
known          what is known about the source: folders, epochs, messages in quarantine
replica        what is known about a destination: its folders, our replicas in them
outgoing       messages that are still to be sent, or may have been
mailbox        a destination as its server shows it, and a message as it is sent
restored       messages that went back to a mailbox because somebody asked for them
query          search queries and results
"""
