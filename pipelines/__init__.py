"""Luigi's side: tasks, targets, the engine, and the command line.

cli          the command line
show         what people see: moving lines, tables, previews
demo         the demo
tasks        the static graph of an account
targets      when a step is complete
engine       accounts run in waves; one failure stops only its account
results      what a step leaves for those after it
outcome      how a verb ended for one account; one failure stops only its account
reporting    a run's end: its report is written
events       progress of forked workers, over a pipe
stop         SIGINT and SIGTERM
failures     whatever stopped an account, as one of our errors
reasons      why an exit code is not 0, in one line
apart        Luigi imported without the luigi.cfg of the current folder
luigid       whether a central scheduler answers

`luigi --module pipelines ArchiveAccount --config configs/alice.toml` runs the same graph as
`archiver run configs/alice.toml`.
"""

import sys

if "luigi" in sys.modules:
    # NOTE: the luigi command finds tasks by importing this module. Without it nobody needs them here, and
    # `archiver --help` need not wait for Luigi and SQLAlchemy.
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
