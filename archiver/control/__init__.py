"""How work is stopped, and what must never keep it waiting.

run      the value by which a step is stopped, waits and reports progress; the clock
waiting  a server that says nothing, and a lock that nobody releases
"""
