"""Who is behind a connection, and is it still alive."""

from mcp_sessions.clients.identify import Identifier
from mcp_sessions.clients.liveness import Liveness
from mcp_sessions.clients.lookup import Reason, Unknown, find
from mcp_sessions.clients.process import Process, is_alive

__all__ = ["Identifier", "Liveness", "Process", "Reason", "Unknown", "find", "is_alive"]
