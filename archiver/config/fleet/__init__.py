"""Accounts in numbers: found in folders, chosen by name, made from a CSV file (RFC 4180).

files    the account files below folders, those that a command chooses, and what they must not have in common
rows     a CSV file's octets become rows with line numbers
columns  the columns, and which key of an account file each is
made     rows become account files and password files; all mistakes at once
toml     tables as the text of an account file
"""
