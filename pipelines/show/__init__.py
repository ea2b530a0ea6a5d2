"""Output for people.

display                live lines on a terminal, a plain log elsewhere
tables                 folders, accounts, plans
lines                  sentences: totals, failures and what to do, what the destination altered
reasons                why an exit code is not 0, in one line
preview                what a run would do, from what the source shows
place                  where an archive is or will be
provider               whose server it is, and what is known of it
preview_bucket         the same for a bucket
preview_destination    the same for a destination
preview_token          what is known about the token of a login
"""
