"""Account files that `init` writes.

answers     what it knows about an account: from options, or by asking
discovered  the server of an address
one         one account file
from_csv    account files in numbers, from a table
files       what it writes of them, and what is there already
"""
