"""The replay step: store to destination, each message exactly once, and the proof of it.

run               all folders, over several connections; deletions last
ahead             folders that are archived completely are sent while others are still fetched
context           what the connections share
connection        a destination that reconnects, and how several connections share the work
identify          whose mailbox the destination is
contents          what an unknown mailbox holds, and whether anything may be sent there
folders           the folders as a whole: mapped, created, renamed, removed
follow_rights     access rights given as they are at the source
sync_folder       one folder: known messages matched, missing ones sent, flags updated
send              messages appended: prepared, sent, and looked for if no answer came
flag_merge        pure: three-way merge of flags
deletions         our copies deleted if the policy asks for it, within a limit
forgotten         copies of forgotten messages removed
shared_copies     copies that another account counts on
compare           every copy compared with what the destination shows
restore           what is brought back: the folders of a past moment, or messages that somebody asks for
"""
