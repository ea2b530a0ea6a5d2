"""The manual pages and the completion of shells: files that are made from the verbs when the package is built.

verbs         what there is to say of a verb, read off its click command
values        what an option or an argument takes, for a shell that completes it
words         what no command knows: environment, files
roff          text as a manual page has it
pages         archiver(1), and archiver-VERB(1) for each verb
account_file  archiver.toml(5), from the keys of docs/configuration.md
bash          completion for bash
zsh           completion for zsh
fish          completion for fish
files         all of them, each where it belongs below a prefix

`.ci/build_hook.py` puts them into the wheel. `archiver` itself prints what completes its lines in a shell that does
not find the file.
"""
