"""What an archive records, and the words in which it is asked. docs/formats.md specifies the JSON.

archive        facts of folders, epochs and messages
destination    facts of what was sent to a destination, arrived there, or was refused
codec          facts as JSON lines, and back
records        small dataclasses read back from JSON
segment        facts as the octets of a journal segment, and back
replica        what is known of a destination: its folders, our copies in them, what is still to be sent
query          what a search asks, and what it finds
"""
