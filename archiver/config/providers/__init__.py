"""What is known of mail providers and of the servers that many run.

providers.toml is the data. It is read when an account file names a provider, by `archiver check` and by `archiver
init`; a run does not need it.

table       the data as values, and who is who: by address, by host, by what a server says
discovery   from an address to the server of its mailbox: the table, DNS, the domain's autoconfig
lookup      the questions that go out to the net for that
"""
