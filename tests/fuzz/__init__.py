"""Octets that nobody foresaw, for everything that reads what others wrote.

readers         what reads: one function for each, which may raise our own errors only, and octets to begin with
conversation    a whole connection to an IMAP server that says these octets
pop3            the same for a POP3 server
guided          one reader under a fuzzer that follows which lines are reached (`make fuzz`)
"""
