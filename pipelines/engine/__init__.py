"""Runs accounts.

run    accounts in waves; one failure stops only its account
light  accounts that show what they did before, many at a time and unopened
quiet  accounts in which nothing is new, before Luigi makes a task of any
apart  accounts beside each other, each in one process from its first step to its last
slots  processes that live on, each of which works on one account at a time
names  the names of runs
locks  each account's lock, from its first task to its last
"""
