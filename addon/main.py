"""What `mitmdump -s` takes in a checkout: the package beside this file, whether or not it is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mcp_sessions.script import addons

__all__ = ["addons"]
