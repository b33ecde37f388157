"""`helios top`: a running proxy, live, on a whole screen.

`state` is what is known and chosen, `picture` draws it: both are pure. `terminal` reads keys, `watching` brings the
live stream, the sessions, the keys and the screen together, `command` is the command.
"""
