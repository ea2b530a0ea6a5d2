"""How long a test waits for what always comes, however busy the machine is."""

PATIENCE = 900.0
"""Seconds. A test that needs them has found something that hangs."""
