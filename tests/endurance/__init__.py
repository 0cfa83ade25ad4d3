"""Endurance: many clients of each kind, an unlucky server and an unlucky proxy, and what is left of them."""
