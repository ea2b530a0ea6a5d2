"""Servers that mail is replayed to."""
