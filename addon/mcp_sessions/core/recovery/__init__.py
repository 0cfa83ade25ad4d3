"""Bringing lost sessions back: is it lost, who waits for what, what is said to the server, what is sent again."""
