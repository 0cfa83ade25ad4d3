"""A mitmproxy addon that makes MCP traffic over Streamable HTTP trustworthy."""

__version__ = "0.1.0"
