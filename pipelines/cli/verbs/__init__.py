"""The verbs' options and help; cli/main.py gathers them.

accounts    init, check, status, report, demo
messages    search, show, export
proving     verify, repair, gc, rebuild
steps       run, archive, replay, retry
options     what several verbs share
"""
