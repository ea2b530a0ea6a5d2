"""Ways to log in to a mail server, whatever protocol it speaks (RFC 4422).

A protocol's package asks an `Authenticator` what to try, strongest first, and sends it in its own commands. Secrets
are looked up here and are registered with `archiver.config.secrecy`; no `repr` shows one.

port            what a server offers, and how one user logs in
exchange        the client's side of one AUTHENTICATE: base64, rounds, the server's proof
mechanisms      PLAIN, EXTERNAL, CRAM-MD5, XOAUTH2, OAUTHBEARER
scram           SCRAM-SHA-256 and SCRAM-SHA-1, also bound to the TLS connection (RFC 5802, RFC 7677)
saslprep        names and passwords in the one form in which they are compared (RFC 4013)
channel         what binds a login to a TLS connection (RFC 5929, RFC 9266)
password        a user with a password, or an admin with theirs: which ways there are
certificate     a user with a client certificate
around          what every protocol does around a login: the server's offer, and a refusal in words
oauth           tokens in place of passwords: how they are obtained, kept and renewed
web             one HTTP request, for tokens and for notices
attempts        one way after the other, as long as no password was tried
refused         logins that a server refused, which are not tried again and again
reach           which servers answered, and which nobody could reach, in one command
choose          from the settings of an account to its authenticator
"""
