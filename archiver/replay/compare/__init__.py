"""Every copy compared with what the destination shows.

verifier      all folders of an account, and what is recorded afterwards
reading       several small folders in one round trip, a large one by itself
unchanged     pure: what need not be read again
differences   pure: one copy as it is recorded and as it is shown
result        what was found, by folder
"""
