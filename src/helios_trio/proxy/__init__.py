"""Clients: from accept through authentication to the relay, and the services around their sessions."""
