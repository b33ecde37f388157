"""Public test tools for PostgreSQL proxies and drivers; nothing of the proxy itself imports them.

* `requests` builds frontend messages in few words, `script` puts them in order with what to wait for,
  `player` plays a script against an address, `transcript` makes what came back comparable.
* `faults` breaks the network between two addresses.
* `fake_backend` is a server whose every word is scripted.
* `running` starts `python -m helios_trio serve` for tests, as a context manager without an event loop.
"""
