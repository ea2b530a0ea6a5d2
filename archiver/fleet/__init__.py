"""The ledger of a fleet: what is known of each of its accounts, and who works on it just now.

It makes large numbers of accounts quick to look through and lets several hosts share them. It is never the only
place of a fact about mail: lose it, and account files and archives make it again.

model        what it holds, as values
fingerprint  what an account showed when nothing was left to do for it
port         the ledger as those who use it see it
sql          its statements, which SQLite and PostgreSQL share
sqlite       in a file, for one host
postgresql   in a database, for several
shared       seats and a pace at servers, as the connections of a process use them
open         chooses the adapter
states       how far a migration is, as a function of what happened
"""
