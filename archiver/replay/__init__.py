"""The replay step: store to destination, each message exactly once, and the proof of it.

run               all folders, over several connections; deletions last
context           what the connections share
connection        a destination that reconnects
meeting           whose mailbox the destination is
inside            what is in a mailbox that is not known yet
create_folders    every folder mapped, made, recorded, subscribed
rename_folders    folders renamed at the source are renamed here
sync_folder       one folder: what is there is recognised, what is missing is sent, flags follow
send              messages appended: prepared, sent, and found again where no answer came
pace              how fast the destination takes mail
flag_merge        pure: flags merged three ways
deletions         our copies deleted where a policy asks for it, within a limit
removals          folders that the destination's user removed
sparing           copies that another account counts on
compare           every copy compared with what the destination shows
as_of             what a destination lacks of the folders as they were on a day
"""
