"""Output for people.

display                live lines on a terminal, a plain log elsewhere
tables                 folders, accounts, plans
lines                  sentences: totals, failures and what to do, what the destination altered
preview                what a run would do, from what the source shows
preview_bucket         the same for a bucket
preview_destination    the same for a destination
"""
