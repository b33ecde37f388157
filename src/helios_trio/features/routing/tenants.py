"""Whose session it is: the tenant that rules are matched with. Pure.

A tenant is what the client says that it is. It decides where requests go, and never what a client may do.

Used by: proxy.serving (at the login), the routed session (for each request), migration.fleet (shows it).
"""

from __future__ import annotations

from collections.abc import Mapping

from helios_trio.config.routing import TenantFrom, TenantSource


def tenant_of(source: TenantSource, *, user: str, database: str, settings: Mapping[str, str]) -> str:
    """The tenant of a session; empty where it has none.

    `settings`: what is known of its settings, by name, those of its start-up packet included. A setting is read as it
    is at that moment, so that a session has another tenant after SET app.tenant_id.
    """
    match source.kind:
        case TenantFrom.USER:
            return user
        case TenantFrom.DATABASE:
            return database
        case TenantFrom.APPLICATION_NAME:
            return settings.get("application_name", "")
        case TenantFrom.SETTING:
            return _setting(source.setting, settings)


def _setting(name: str, settings: Mapping[str, str]) -> str:
    """The value of a setting, whose name is in lower case; PostgreSQL does not care about case."""
    found = settings.get(name)
    if found is None:
        found = next((value for key, value in settings.items() if key.lower() == name), "")
    return found
