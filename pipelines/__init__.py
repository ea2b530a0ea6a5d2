"""Luigi's side of the house: tasks, targets, the engine and the command line.

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
