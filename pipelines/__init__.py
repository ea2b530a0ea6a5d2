"""How accounts are run: the engine, Luigi's graph, and the command line.

cli          the command line
show         output for people: live lines, tables, previews
demo         the demo
notify       notices, pings and metrics after a run
fleet        what is recorded in the ledgers of fleets
hosts        accounts that several hosts share
graph        Luigi: the static graph of an account, its build, and a luigid's page
engine       accounts run in waves, quiet ones without Luigi; one failure stops only its account
attempts     what is asked of a run, and what is known of each account's so far
steps        the steps at the source's side, over an open archive
results      results that a step leaves for later steps
outcome      how a verb ended for one account; one failure stops only its account
reporting    the report at a run's end: made, and written
events       progress of forked workers, over a pipe
stop         SIGINT and SIGTERM
failures     turns any exception that stopped an account into one of our errors

`luigi --module pipelines ArchiveAccount --config configs/alice.toml` runs the same graph as
`archiver run configs/alice.toml`.
"""

import sys

if "luigi" in sys.modules:
    # NOTE: the luigi command finds tasks by importing this module. Otherwise they are not needed here, and
    # `archiver --help` does not have to wait for Luigi.
    from pipelines.graph.tasks import (
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
