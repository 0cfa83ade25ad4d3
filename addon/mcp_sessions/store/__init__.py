"""The stored ledger: what a crash of the proxy must not make forgotten. Of credentials a keyed hash is in it."""

from .chosen import FILE, keep
from .keeping import Keeping
from .proxies import Proxy
from .rows import Key, Row
from .sqlite import SqliteStore
from .store import Problem, Store

__all__ = ["FILE", "Keeping", "Key", "Problem", "Proxy", "Row", "SqliteStore", "Store", "keep"]
