"""Facts about SQL texts by PostgreSQL's own parser, cached by text, and the writing of SQL.

Parse (pglast), classify, fingerprint. Pure: no I/O, no clock. The session, pools, router, query cache and
journal ask `FactsCache.facts`; whoever writes SQL uses `quote`.
"""
