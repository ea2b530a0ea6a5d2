"""The folders of a destination as a whole: mapped, created, renamed, removed.

create      every folder mapped, created, recorded, subscribed
rename      folders renamed at the source are renamed at the destination
removed     folders that the destination's user removed
"""
