"""Single requests observed: a span for each in a trace of OpenTelemetry, a line in the log of queries."""
