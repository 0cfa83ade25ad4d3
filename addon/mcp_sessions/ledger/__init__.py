"""The ledger: who opened which session, and how each of them stands."""

from .client import Client, ClientKey, Connection
from .ledger import Ledger, counted, printable
from .session import UNKNOWN_CREDENTIALS, Endpoint, Session
from .states import LIVE, RECOVERABLE, Cause, State

__all__ = [
    "LIVE",
    "RECOVERABLE",
    "UNKNOWN_CREDENTIALS",
    "Cause",
    "Client",
    "ClientKey",
    "Connection",
    "Endpoint",
    "Ledger",
    "Session",
    "State",
    "counted",
    "printable",
]
