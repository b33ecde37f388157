"""The admin listener: health, metrics and the REST API, on Quart and hypercorn inside the proxy's own Trio loop."""
