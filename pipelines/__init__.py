"""Luigi's side: tasks, targets, the engine, and the command line.

cli          the command line
show         output for people: live lines, tables, previews
demo         the demo
tasks        the static graph of an account
targets      when a step is complete
engine       accounts run in waves; one failure stops only its account
locks        each account's lock, from its first task to its last
results      results that a step leaves for later steps
outcome      how a verb ended for one account; one failure stops only its account
reporting    writes the report at a run's end
events       progress of forked workers, over a pipe
stop         SIGINT and SIGTERM
failures     turns any exception that stopped an account into one of our errors
reasons      why an exit code is not 0, in one line
apart        Luigi imported without the luigi.cfg of the current directory
luigid       whether a central scheduler answers

`luigi --module pipelines ArchiveAccount --config configs/alice.toml` runs the same graph as
`archiver run configs/alice.toml`.
"""

import sys

if "luigi" in sys.modules:
    # NOTE: the luigi command finds tasks by importing this module. Otherwise they are not needed here, and
    # `archiver --help` does not have to wait for Luigi.
    from pipelines.tasks import (
        ArchiveAccount,
        ArchiveFolders,
        EnumerateFolders,
        MigrateAccount,
        ReplayFolders,
        VerifyAccount,
    )

    __all__ = [
        "ArchiveAccount",
        "ArchiveFolders",
        "EnumerateFolders",
        "MigrateAccount",
        "ReplayFolders",
        "VerifyAccount",
    ]
