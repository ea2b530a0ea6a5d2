"""The tables of an account file that need a file each, as frozen values with their checks.

oauth2  logins by a token
s3      a bucket
notify  notices and metrics
fleet   where the ledger of a fleet is
"""
