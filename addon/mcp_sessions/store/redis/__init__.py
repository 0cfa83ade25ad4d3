"""A ledger in Redis or Valkey, which proxies of several hosts share. Needs the extra `fleet`."""

from .backend import RedisStore
from .url import Address, is_address

__all__ = ["Address", "RedisStore", "is_address"]
