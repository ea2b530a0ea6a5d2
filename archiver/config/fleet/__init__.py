"""Accounts in numbers: found in folders, chosen by name.

files  the account files below folders, those that a command chooses, and what they must not have in common
"""
