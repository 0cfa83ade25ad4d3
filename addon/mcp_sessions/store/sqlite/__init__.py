"""The ledger in an SQLite file: for the proxies of one host, and of one user."""

from .backend import SqliteStore

__all__ = ["SqliteStore"]
