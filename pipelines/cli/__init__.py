"""The command line.

main              all verbs, exit codes, and how errors are shown
verbs             the verbs' options and help
terminal          tables on stdout, a log on stderr, one JSON document for programs
search_options    what a person asks `search` for, as a query
sharing           warnings about accounts that meet in one mailbox

What each verb does:

init  check  run  status  report     the verb of that name; run is archive, replay and retry, too
search  show  export  demo           the verb of that name
upkeep                               verify, repair, gc and rebuild
"""
