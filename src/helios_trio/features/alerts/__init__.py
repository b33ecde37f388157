"""Alerts: somebody is told when a primary is missed, a circuit opens, a server is down - by webhook, Slack, PagerDuty.

Everything but `receiver` and `service` is pure: time is an argument. Section `[alerts]` of the configuration.
"""
