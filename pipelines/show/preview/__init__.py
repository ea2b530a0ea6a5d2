"""What a run would do, from a look at the servers and without a change to anything.

look         looks at accounts: what each source shows, and what a run would fetch
result       what a look found, as a value and as JSON
words        the same in words, for one account
destination  the destination's part: who is there, what would be sent and where to
bucket       the bucket's part
token        what is known about the token of a login
provider     whose server it is, and what is known of it
place        where an archive is or will be
too_large    messages that a destination will refuse
in_time      looks at many accounts side by side, each within its time
pace         how long a run may take, by what earlier ones took
table        the table of `check` for many accounts, and what all of them need together
"""
