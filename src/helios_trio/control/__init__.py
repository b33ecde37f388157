"""The proxy's own connections to the databases: probes, promotion, tokens, set-up.

They are made as the control user (`[control]` in the configuration), never as a client's, and never carry a
client's traffic. Built on psycopg, driven by Trio.
"""

from __future__ import annotations

from helios_trio.control.connection import ControlConnection

__all__ = ["ControlConnection"]
