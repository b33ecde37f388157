"""helios_trio: a PostgreSQL proxy whose client sessions outlive their servers."""

__version__ = "0.1.0"
