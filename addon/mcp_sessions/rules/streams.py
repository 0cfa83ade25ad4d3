"""Checks of event streams."""
