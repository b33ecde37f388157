"""The servers behind the proxy: which there are, how they are, who takes writes."""
