"""Ending sessions whose client is gone: the evidence, the decision, and the DELETE."""
