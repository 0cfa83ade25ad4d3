"""What stands on the wire: JSON-RPC messages, headers, revisions, server-sent events, and whether it is MCP at all."""
