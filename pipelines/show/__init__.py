"""What people see.

display                lines that move on a terminal, a log elsewhere
tables                 folders, accounts, plans
lines                  the books, what failed and what next, what the destination altered
preview                what a run would do, from a look at the source
preview_bucket         the same of a bucket
preview_destination    the same of a destination
"""
