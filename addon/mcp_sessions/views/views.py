"""All views. Each is a file of its own and an entry of the list here; the addon knows none of them by name."""

from __future__ import annotations

from .commands import Commands
from .contentview import ContentViews
from .flowlist import FlowLists
from .footer import Footer
from .live import LiveStreams
from .shown import Shown, View
from .status import Status
from .telemetry.view import Telemetry
from .web import WebPage

VIEWS: list[type[View]] = [ContentViews, LiveStreams, FlowLists, Footer, Status, Commands, WebPage, Telemetry]
"""In the order in which they are made, start and end."""


def install(shown: Shown) -> list[View]:
    """Make them all, when the addon is loaded."""
    return [view(shown) for view in VIEWS]
