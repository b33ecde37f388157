"""The admin listener: health, metrics and the REST API, served in the proxy's own Trio loop."""
