"""`Panel`: one page of the web console, as whoever has something to show describes it.

Used by: features (each has its own), admin.web (the core ones), admin.console_page (lists and serves them).
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Panel:
    """A page of the web console; its script is an ES module that lies in a Python package."""

    #: in URLs: lower-case letters and hyphens
    name: str
    #: in the navigation
    title: str
    #: where in the navigation: small ones first
    order: int
    #: the package that has the script, such as `helios_trio.features.routing`
    package: str
    #: file name of the script
    script: str
