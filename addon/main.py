"""What `mitmdump -s` takes in a checkout: the package beside this file, whether or not it is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mcp_sessions.script import addons  # noqa: E402 -- the path had to be set first

__all__ = ["addons"]
