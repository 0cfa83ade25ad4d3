"""The way to Redis: commands that are bounded in time, scripts, and what to tell the user when it fails."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..store import Problem
from .url import Address

if TYPE_CHECKING:
    import redis
    import redis.asyncio

type Value = str | bytes | int | float
type Call = tuple[str, tuple[Value, ...]]
"""A script, and what it is told."""

PATIENCE = 2.0
"""Seconds that a command may take, and a connection."""

WRITING = 5.0
"""Seconds that what is written may take: nobody waits for it, and it may be much."""

OLDEST = (7, 0)
"""The version that is asked for; Valkey began with 7.2."""

CLOSED_FOR = 1.0
"""Seconds after a failure within which nothing else is tried where somebody waits."""

NOT_SHARED = "sessions are shared with no other proxy in this run"
NOT_NOW = "sessions are not shared until it can be"


def digest(script: str) -> str:
    """The name that Redis knows a script by."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """A few connections to one server. Commands of `run` may overtake each other."""

    def __init__(self, address: Address, patience: float | None = None) -> None:
        """`patience`: seconds that a command may take, where that is not `PATIENCE`."""
        self.address = address
        self._patience = patience
        self._client: redis.asyncio.Redis | None = None
        self._failed_at = float("-inf")
        self.round_trips = 0
        """Commands, and batches of them, that were sent."""

    @property
    def client(self) -> redis.asyncio.Redis:
        """The client library's own."""
        if self._client is None:
            import redis.asyncio  # 0.1 s, which nobody pays who has no use for it

            self._client = redis.asyncio.Redis(**self._options(), retry=self._retry(redis.asyncio.retry.Retry))
        return self._client

    def blocking(self, within: float) -> redis.Redis:
        """Another one, which blocks: for the last words."""
        import redis

        options = {**self._options(), "socket_timeout": within, "socket_connect_timeout": within}
        return redis.Redis(**options, retry=self._retry(redis.retry.Retry))

    def _options(self) -> dict[str, Any]:
        patience = {"socket_timeout": self._patience or PATIENCE, "socket_connect_timeout": PATIENCE}
        return {**self.address.options, **patience, "protocol": 3, "client_name": "mcp-sessions", "max_connections": 50}

    def _retry(self, kind: Any) -> Any:
        """Once, at once: a kept connection may have been closed by a server that was restarted."""
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as NotConnected

        return kind(NoBackoff(), 1, supported_errors=(NotConnected,))

    @property
    def away(self) -> bool:
        """Whether it failed a moment ago, so that nobody need wait for it again."""
        return time.monotonic() - self._failed_at < CLOSED_FOR

    async def check(self) -> str:
        """See whether this server can be used; a line for the user if that is so, but not as it should be.

        Raises:
            Problem: it can't be used.
        """
        import redis.exceptions as e

        try:
            said = await self.command("HELLO", "3")
        except e.ResponseError as problem:
            if "unknown command" not in str(problem).lower():
                raise self.problem(problem) from None
            said = {}
        told = {_text(key): _text(value) for key, value in said.items()} if isinstance(said, dict) else {}
        version = told.get("version", "")
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            line = f"{self.address}: version {version or 'before 6'} is too old, {wanted} or Valkey is needed"
            raise Problem(f"{line}; {NOT_SHARED}", final=True)
        return "" if told.get("role", "master") == "master" else f"{self.address} is a replica: it is only read"

    async def command(self, *parts: Value) -> Any:
        """What a command answers.

        Raises:
            Problem: nothing, or an error.
        """
        client: Any = self.client  # its method has no types
        return await self._tried(client.execute_command(*parts))

    async def commands(self, several: Sequence[tuple[Value, ...]]) -> list[Any]:
        """What these commands answer, sent in one go.

        Raises:
            Problem: nothing, or one of them an error.
        """
        if not several:
            return []
        async with self.client.pipeline(transaction=False) as batch:
            for parts in several:
                batch.execute_command(*parts)
            answers: list[Any] = await self._tried(batch.execute())
        return answers

    async def run(self, script: str, *told: Value) -> Any:
        """What a script answers.

        Raises:
            Problem: nothing, or an error.
        """
        return (await self.run_all([(script, told)]))[0]

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """What these scripts answer, sent in one go and run in this order.

        Raises:
            Problem: not all of them were run.
        """
        import redis.exceptions as e

        for load in (False, True):
            async with self.client.pipeline(transaction=False) as batch:
                for script in dict.fromkeys(script for script, _ in calls) if load else ():
                    batch.script_load(script)
                for script, told in calls:
                    batch.evalsha(digest(script), 0, *told)
                try:
                    answers = (await self._tried(batch.execute(raise_on_error=False)))[-len(calls) :]
                except e.NoScriptError:
                    continue
            failed = next((one for one in answers if isinstance(one, Exception)), None)
            if failed is None:
                return list(answers)
            if not isinstance(failed, e.NoScriptError):
                self._failed_at = time.monotonic()
                raise self.problem(failed)
        raise Problem(f"{self.address} forgets scripts at once; {NOT_NOW}", final=False)

    async def _tried(self, waiting: Any) -> Any:
        import redis.exceptions as e

        self.round_trips += 1
        try:
            return await waiting
        except e.ResponseError as problem:
            if isinstance(problem, e.NoScriptError) or "unknown command" in str(problem).lower():
                raise
            self._failed_at = time.monotonic()
            raise self.problem(problem) from None
        except (e.RedisError, OSError) as problem:
            self._failed_at = time.monotonic()
            raise self.problem(problem) from None

    def problem(self, error: Exception) -> Problem:
        """What to tell the user, and whether it may pass."""
        import redis.exceptions as e

        at = self.address
        match error:
            case e.AuthenticationError() | e.AuthenticationWrongNumberOfArgsError() | e.AuthorizationError():
                return Problem(f"{at}: wrong user or password; {NOT_SHARED}", final=True)
            case e.NoPermissionError():
                return Problem(
                    f"{at}: its ACL does not allow what is needed, see docs/fleet.md; {NOT_NOW}", final=False
                )
            case e.ReadOnlyError():
                return Problem(f"{at} is a replica that can only be read; {NOT_NOW}", final=False)
            case e.OutOfMemoryError():
                return Problem(f"{at} is full (maxmemory); {NOT_NOW}", final=False)
            case e.BusyLoadingError():
                return Problem(f"{at} is reading its data; {NOT_NOW}", final=False)
            case e.TimeoutError():
                tls = ", or does not speak TLS" if at.scheme == "rediss" else ""
                return Problem(f"{at} does not answer{tls}; {NOT_NOW}", final=False)
            case e.ConnectionError() | OSError():
                return Problem(f"{at} {_unreachable(error, at)}; {NOT_NOW}", final=False)
        text = str(error)
        if "NOAUTH" in text or "WRONGPASS" in text:
            return Problem(f"{at}: wrong user or password; {NOT_SHARED}", final=True)
        if "READONLY" in text:
            return Problem(f"{at} is a replica that can only be read; {NOT_NOW}", final=False)
        if "OOM" in text:
            return Problem(f"{at} is full (maxmemory); {NOT_NOW}", final=False)
        return Problem(f"{at}: {type(error).__name__}: {text[:100]}; {NOT_NOW}", final=False)

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()


def _unreachable(error: Exception, at: Address) -> str:
    """Why there is no connection, as far as it can be told."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = "" if at.ca else ": ?ca=FILE names who has signed it"
        return f"can't be trusted: {cause.verify_message.rstrip('.')}{hint}"
    wants_one = isinstance(cause, ConnectionResetError) or "CERTIFICATE_REQUIRED" in str(cause)
    if wants_one and at.scheme == "rediss" and not at.cert:
        return "breaks the connection off: does it want a certificate (?cert=FILE&key=FILE)?"
    if isinstance(cause, ssl.SSLError):
        return f"can't be talked to by TLS: {(cause.reason or 'error').lower().replace('_', ' ')}"
    if isinstance(cause, ConnectionResetError) and at.scheme == "redis":
        return "breaks the connection off: does it speak TLS (rediss://)?"
    return "can't be reached"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
