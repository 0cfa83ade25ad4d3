"""The violations: a catalogue as data, the checks beside it, and the judge that walks them."""

from .entries import Level, Rule, catalogue
from .judge import Deferred, Finding, Judge

__all__ = ["Deferred", "Finding", "Judge", "Level", "Rule", "catalogue"]
