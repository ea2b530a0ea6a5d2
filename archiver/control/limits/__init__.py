"""How much an account, or all accounts of a server, may use at a time.

port      what counts the octets of a connection
bucket    pure: a rate, as a bucket of tokens
used      the octets of a day, in a file that survives a kill
limiter   the limits of one account at one side, for all of its connections
"""
