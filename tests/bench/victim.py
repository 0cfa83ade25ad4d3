"""A client to be killed: `python victim.py PORT [stream]` opens a session, says `OPEN session` and stays.

With `stream` it holds a GET stream open; without, it holds no connection at all, as clients do whose server has none.
"""

import http.client
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.client import INITIALIZE, INITIALIZED

port, stream = int(sys.argv[1]), "stream" in sys.argv[2:]
headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
connection.request("POST", "/mcp", INITIALIZE, headers)
answer = connection.getresponse()
answer.read()
session = answer.headers["mcp-session-id"]
headers |= {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
connection.request("POST", "/mcp", INITIALIZED, headers)
connection.getresponse().read()
if stream:
    connection.request("GET", "/mcp", headers=headers | {"accept": "text/event-stream"})
    reading = connection.getresponse()
else:
    connection.close()
print(f"OPEN {session}", flush=True)
sys.stdin.read()
