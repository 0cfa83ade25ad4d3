"""How MCP traffic is shown in mitmproxy."""
