"""The adapter: what the catalog knows of destinations, by subject."""

from __future__ import annotations

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.replica.changes import SqlReplicaChanges
from archiver.catalog.sqlite.replica.destinations import SqlDestinations
from archiver.catalog.sqlite.replica.folders import SqlReplicaFolders
from archiver.catalog.sqlite.replica.messages import SqlReplicaMessages
from archiver.catalog.sqlite.replica.pending import SqlPendingMessages
from archiver.catalog.sqlite.replica.restores import SqlRestores
from archiver.catalog.sqlite.replica.sharing import SqlSharing


class SqlReplicas:
    """Implements `archiver.catalog.replicas.Replicas` over a catalog's database."""

    def __init__(self, database: Database) -> None:
        self.destinations = SqlDestinations(database)
        self.folders = SqlReplicaFolders(database)
        self.messages = SqlReplicaMessages(database)
        self.changes = SqlReplicaChanges(database)
        self.pending = SqlPendingMessages(database)
        self.sharing = SqlSharing(database)
        self.restores = SqlRestores(database)
