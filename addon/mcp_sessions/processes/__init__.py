"""Who is behind a connection, and is it still alive."""

from mcp_sessions.processes.identify import Identifier
from mcp_sessions.processes.liveness import Liveness
from mcp_sessions.processes.lookup import Reason, Unknown, find
from mcp_sessions.processes.process import Process, is_alive
from mcp_sessions.processes.visitors import has_visitors

__all__ = ["Identifier", "Liveness", "Process", "Reason", "Unknown", "find", "has_visitors", "is_alive"]
