"""The folders of a destination as a whole: mapped, created, renamed, removed, known again.

create      every folder mapped, created, recorded, subscribed
epoch       whether a folder's UIDs name the messages that they named
rename      folders renamed at the source are renamed at the destination
removed     folders that the destination's user removed
"""
