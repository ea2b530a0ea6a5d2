"""Account files (TOML), and the secrets they refer to.

references  secrets, tokens and keys by reference, never the thing itself
settings    an account as configured, and all tables of its file
tables      the tables' keys as frozen values, with their checks
shape       reads a table by the annotations of its class; finds every mistake
protocols   what the protocols differ in: usual ports, keys that one of them does not have
load        makes settings of an account's tables; reports all mistakes of a file at once
layers      reads an account file, the defaults.toml of its folder, and those of the folders above
fleet       many account files: found in folders, made from a CSV file
template    the commented file that `archiver init` writes
age         ages such as "30d", and the day that they mean
moment      moments as people write them, in UTC
providers   what is known of mail providers, and how the server of an address is found
hosts       host names, as DNS and certificates use them
secrets     references resolved when a connection needs them: file, environment, command, keyring
secrecy     removes every known secret from texts of servers and libraries
"""
