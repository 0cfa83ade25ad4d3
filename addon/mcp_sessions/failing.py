"""Failing open: a hook that fails says so in the log, and the traffic passes as if the addon were not there."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from mitmproxy import exceptions

logger = logging.getLogger(__name__)


def fail_open[**P](hook: Callable[P, Any]) -> Callable[P, Any]:
    """Let the traffic pass when a hook fails, and say so."""

    def said(error: Exception) -> None:
        logger.error(f"mcp: error in {hook.__name__}, the traffic passes: {error!r:.200}", exc_info=error)

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
