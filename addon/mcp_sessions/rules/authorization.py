"""Checks of authorization as far as the transport shows it."""
