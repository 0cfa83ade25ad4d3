"""Every key of flow metadata that the addon writes: what it notes on a flow, so that it is in a saved file, too.

mitmproxy's filters find them: `~meta "mcp_session: 7f3a"`. A file may come from anybody: what is read from there can
be of any type.
"""

from __future__ import annotations

# Whose flow it is

CLIENT = "mcp_client"
"""Label of the client. Every MCP flow has it."""

SESSION = "mcp_session"
"""Short label of the session."""

NUMBER = "mcp_session_number"
"""The session's number in the ledger, for labels need not be unique."""

PROCESS = "mcp_process"
"""Name, pid, start time and parent's pid of the process behind it."""

OWN = "mcp_own"
"""What kind of flow of the proxy's own it is. Such flows are never taken for a client's."""

REFUSED = "refused"
"""The kind of own flow that keeps a refused answer; the client's flow carries the answer to the second attempt."""

# What was done with it

PRESENTED = "mcp_presented"
"""The session id as the client knows it, where the proxy put another in its place, or acts in the client's."""

EVIDENCE = "mcp_evidence"
"""Why the proxy ends the session, in words."""

SENT_AGAIN = "mcp_sent_again"
"""How often the request was sent again by the proxy."""

TO_BE_SENT_AGAIN = "mcp_again"
"""There for a moment only: the answer at hand is to be dropped and the request sent again."""

UNREACHABLE = "mcp_unreachable"
"""There for a moment only: why the server can't be reached."""

BROKEN_BY = "mcp_broken_by"
"""There for a moment only: which side an error of the flow came from, `client` or `server`."""

# What its stream was

ARRIVALS = "mcp_arrivals"
"""When each event of the stream was complete, seconds since the epoch, in order."""

TRUNCATED = "mcp_truncated"
"""Bytes of the stream that are not in the flow, because `mcp_body_limit` was reached."""

# What the flow list says of it

COMMENT = "mcp_comment"
"""The addon's part of the comment, to be replaced by the next; what a user wrote stays."""

MARK = "mcp_mark"
"""The marker that the addon set, if it set one."""

RULES = "mcp_rules"
"""Ids of the rules that the flow breaks."""
