"""Several hosts that share the accounts of a fleet, whose ledger is in PostgreSQL.

claims   what this process has claimed: renewed while it is worked on, and checked before anything is changed
glance   accounts that show what they did before, claimed and looked at many at a time
share    which of a command's accounts are shared with other hosts
command  a command's accounts of one fleet, each done by the host that claims it first
teller   which of them sends the notices about a run that they shared
turn     an account's turn in such a command
"""
