"""Output for people.

display                live lines on a terminal, a plain log elsewhere
tables                 folders, plans
accounts               how a run of many accounts ended: a table, whose sentences go below it where there is no room
lines                  sentences: totals, failures and what to do, what the destination altered
reasons                why an exit code is not 0, in one line
previewed              what a look at an account found, as a value and as JSON
preview                what a run would do, from what the source shows
in_time                looks at many accounts side by side, each within its time
fleet_check            the table of `check` for many accounts, and what all of them need together
pace                   how long a run may take, by what earlier ones took
too_large              messages that a destination will refuse
place                  where an archive is or will be
provider               whose server it is, and what is known of it
preview_bucket         the same for a bucket
preview_destination    the same for a destination
preview_token          what is known about the token of a login
"""
