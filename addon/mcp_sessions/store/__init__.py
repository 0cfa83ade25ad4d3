"""The ledger on disk: what a crash of the proxy must not make forgotten. No credentials are in it."""

from ..processes.place import Place
from .database import Database, Unusable
from .rows import Row, row_of, session_of
from .writer import Writer

__all__ = ["Database", "Place", "Row", "Unusable", "Writer", "row_of", "session_of"]
