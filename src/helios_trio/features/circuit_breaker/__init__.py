"""Circuit breakers: a backend that fails or is slow gets no more requests until it has shown that it is well again.

Everything but `service` is pure: time is an argument. Section `[circuit_breaker]` of the configuration.
"""
