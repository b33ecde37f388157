"""Transports towards both sides: TCP, unix sockets and TLS, for the relay and for Trio tasks alike."""
