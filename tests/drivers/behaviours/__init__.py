"""All behaviours; a module added here adds its own."""

from __future__ import annotations

from . import sessions, statements, transactions, values
from ._suite import BEHAVIOURS, Behaviour, Stage

__all__ = ["BEHAVIOURS", "Behaviour", "Stage", "sessions", "statements", "transactions", "values"]
