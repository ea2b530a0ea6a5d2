"""The command line.

main          all verbs, exit codes, and how errors are shown
options       the options that several verbs have
terminal      tables on stdout, a log on stderr, one JSON document for programs
console       Rich's console, which takes text as it is
log           the log as a file, or as JSON
streams       stdout and stderr, which cannot make a run fail
accounts      the accounts that a command line names, and the document about them
others        what others get to know of a run: notices, pings, metrics
new_accounts  what `init` asks, and what it writes
references    how `search`, `show` and `restore` name a message
held          what one archive holds, as JSON
keeping       holds, and what `forget` did, for people and as JSON
restored      what `restore` did, for people and as JSON
indexing      what messages say, read into the index of contents
manual        the manual pages, and completion for shells
matching      the options that say which messages are meant

One file a verb: its options and help, what it does for each account, its JSON, and its words.

init  login  check  demo                   before the first run
run  archive  replay  retry                a run and its steps; run shows all of them
worker                                     runs on several hosts
status  report                             what archives hold, what a run did
search  show  restore  export  import      messages found, shown, given back, taken out, added
hold  release  forget                      messages that nothing may take away, and those that must not come back
mark                                       how far a migration is
prune                                      messages removed from the source
verify  repair  gc  rebuild                archives proved, repaired, cleaned up, indexed again
"""
