"""The pytest plugin: a proxy for each test, and what it has seen by the test's end."""
