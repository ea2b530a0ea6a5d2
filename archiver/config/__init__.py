"""Account files (TOML), and the secrets they refer to.

settings    the keys as frozen values, with their checks
load        files and defaults.toml read; all mistakes of a file reported at once
template    the commented file that `archiver init` writes
hosts       names of hosts, as DNS and certificates have them
secrets     references resolved when a connection needs them: file, environment, command, keyring
secrecy     removes every known secret from texts of servers and libraries
"""
