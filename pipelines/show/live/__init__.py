"""What is shown while accounts are at work.

display  a listener to events: live lines on a terminal, a plain log elsewhere
work     how far an account is, and how long the rest will take
table    the live lines
"""
