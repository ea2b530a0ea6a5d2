"""Luigi's side; the only package that knows it.

tasks        the static graph of an account
targets      when a step is complete
build        Luigi builds a wave of accounts
board        a luigid's page about the accounts of a command
luigid       how a luigid is spoken to
apart        Luigi imported without the luigi.cfg of the current directory
"""
