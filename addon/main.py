"""What `mitmdump -s` takes in a checkout: the package beside this file, whether or not it is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

# Loaded anew, it is another addon: the one before has been told that it is done.
sys.modules.pop("mcp_sessions.script", None)

from mcp_sessions.script import addons  # noqa: E402 - the two lines above make it importable, and new

__all__ = ["addons"]
