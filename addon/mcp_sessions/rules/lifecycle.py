"""Checks of the handshake and of what was negotiated in it."""
