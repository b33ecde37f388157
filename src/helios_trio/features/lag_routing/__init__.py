"""Standbys that are too far behind serve nobody, and nobody reads less than he has written (rule 34)."""
