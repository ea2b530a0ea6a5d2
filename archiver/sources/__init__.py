"""Servers to archive from."""
