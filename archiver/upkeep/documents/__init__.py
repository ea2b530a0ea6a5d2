"""The text of attached documents (PDF, office), read in a process of its own: they may be damaged or hostile.

reader  asks that process, and ends it when it takes too long
child   that process: little memory, no file to write, no secret in its environment
"""
