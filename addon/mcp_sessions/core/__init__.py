"""The core: the ledger, every decision about a session, and what is said of it. No I/O, no clock, no mitmproxy."""
