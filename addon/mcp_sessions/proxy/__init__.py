"""All of mitmproxy: flows and their metadata, streams, requests sent again, and requests of the proxy's own."""
