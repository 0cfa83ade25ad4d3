"""What mitmproxy's `-s` takes: this file makes an addon of the package, or says in one line what is missing."""

import sys

try:
    from mcp_sessions.addon import McpSessions
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"mcp-sessions: the package {missing.name!r} is missing in {sys.prefix}. Install the addon into the "
        "environment that mitmproxy runs in: pip install mitmproxy-mcp-sessions"
    ) from None

addons = [McpSessions()]
