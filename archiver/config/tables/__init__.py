"""The tables of an account file as frozen values. Each checks its values, and says what to write instead.

server  source and destination: a server or files, and how to log in
rules   what is archived, replayed and kept, and for how long
oauth2  logins by a token
s3      a bucket
notify  notices and metrics
fleet   where the ledger of a fleet is
"""
