"""Surviving the death of a server: who takes over, what became of a COMMIT, and doing again what was lost."""
