"""Every request to the right server: reads to standbys, writes to the primary, rules, hints, and why it went there."""
