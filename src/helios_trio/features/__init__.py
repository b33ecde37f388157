"""Optional capabilities: one folder each, none of which imports another; they meet through the ports of `pipeline`."""
