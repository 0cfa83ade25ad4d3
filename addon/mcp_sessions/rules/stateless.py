"""Checks of the stateless era, 2026-07-28."""
