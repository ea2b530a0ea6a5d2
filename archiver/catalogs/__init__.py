"""The facts of an archive in a database, where they can be asked for."""
