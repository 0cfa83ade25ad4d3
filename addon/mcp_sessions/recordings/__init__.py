"""Recordings: exported without their secrets, replayed to a live server, and served to a live client."""
