"""Checks of how a server answers."""
