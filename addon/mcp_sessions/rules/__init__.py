"""The violations: a catalogue as data, the checks beside it, and the judge that walks them."""

from .entries import Level, Rule, catalogue
from .judge import Judge

__all__ = ["Judge", "Level", "Rule", "catalogue"]
