"""Failing open: a hook that fails says so in the log, and the traffic passes as if the addon were not there."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

from mitmproxy import exceptions

logger = logging.getLogger(__name__)


FRAMES = 4


def described(error: BaseException) -> str:
    """An error by its kind and place. Its message is left out: it may quote secrets that came from the wire."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}" if places else type(error).__name__


def fail_open[**P](hook: Callable[P, Any]) -> Callable[P, Any]:
    """Let the traffic pass when a hook fails, and say so."""

    def said(error: Exception) -> None:
        logger.error(f"mcp: error in {hook.__name__}, the traffic passes: {described(error)}")

    async def guarded(awaitable: Awaitable[None]) -> None:
        try:
            await awaitable
        except exceptions.AddonHalt:
            raise
        except Exception as e:
            said(e)

    @wraps(hook)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            result = hook(*args, **kwargs)
        except exceptions.AddonHalt:
            raise
        except Exception as e:
            return said(e)
        return None if result is None else guarded(result)

    return wrapper
