"""How work is stopped, what must never keep it waiting, and how it is kept within limits.

run      the value by which a step is stopped, waits and reports progress; the clock
limits   how much an account may use at a time
waiting  a server that says nothing, and a lock that nobody releases
"""
