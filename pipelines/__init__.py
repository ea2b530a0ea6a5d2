"""Luigi's side of the house: tasks, targets, the engine and the command line.

`luigi --module pipelines ArchiveAccount --config configs/alice.toml --local-scheduler` runs the same graph as
`archiver run configs/alice.toml`.
"""

from pipelines.tasks import ArchiveAccount, ArchiveFolders, EnumerateFolders

__all__ = ["ArchiveAccount", "ArchiveFolders", "EnumerateFolders"]
