"""Tokens (OAuth 2.0): how they are obtained, kept and renewed. Nothing here knows a mail protocol.

provider       pure: a provider's endpoints and scopes, from the account file
tokens         pure: a token, from an endpoint's answer or from the file it is kept in
refusals       pure: what an endpoint's error code means, and what to do
endpoint       one request to an endpoint, over https
keeping        where a token is kept between runs: a file, the keyring, or only the memory
grants         a new token without a person: by refresh token, client secret or service account
device         a person logs in on any device with a code (RFC 8628)
browser        a person logs in with the browser of this machine (RFC 8252, RFC 7636)
persons        whose token it is, and whether it is the right person's and gives access to mail
access         a valid token whenever a connection needs one
logging_in     `archiver login`: somebody logs in, and the token is kept
authenticator  tokens as a way to log in to a mail server

A token that was replaced is durable before its successor is used, and processes that share a file wait for each
other: a refresh token that is used twice is taken for a stolen one by many providers, which then revoke all.
"""
