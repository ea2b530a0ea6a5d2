"""Output for people.

live      live lines on a terminal, a plain log elsewhere
preview   what a run would do
tables    folders, plans
accounts  how a run of many accounts ended: a table, whose sentences go below it where there is no room
lines     sentences: totals, failures and what to do, what the destination altered
reasons   why an exit code is not 0, in one line
"""
