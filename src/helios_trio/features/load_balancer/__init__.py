"""Load balancing: one of several servers that are equally good (`pipeline.routing.Strategy`)."""
