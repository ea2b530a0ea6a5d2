"""Runs accounts.

run    accounts in waves; one failure stops only its account
light  accounts that show what they did before, many at a time and unopened
quiet  accounts in which nothing is new, before Luigi makes a task of any
names  the names of runs
locks  each account's lock, from its first task to its last
"""
