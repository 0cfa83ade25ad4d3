"""What `mitmdump -s` takes: the addon, from a checkout or an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from mcp_sessions.addon import McpSessions
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"mcp-sessions: the package {missing.name!r} is missing in {sys.prefix}. Install the addon into the "
        "environment that mitmproxy runs in: pip install mitmproxy-mcp-sessions"
    ) from None

addons = [McpSessions()]
