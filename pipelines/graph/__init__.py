"""Luigi's side; the only package that knows it.

tasks        the static graph of an account
targets      when a step is complete
build        Luigi builds a wave of accounts
apart        Luigi imported without the luigi.cfg of the current directory
luigid       whether a central scheduler answers
"""
