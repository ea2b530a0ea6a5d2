"""Runs accounts.

run    accounts in waves; one failure stops only its account
quiet  accounts in which nothing is new, before Luigi makes a task of any
locks  each account's lock, from its first task to its last
"""
