"""The composition root: from a configuration to the parts of a proxy, wired to each other. Nothing runs here.

`core` makes what all others hang on: servers, connections, clients. Each module named after something that a proxy does
(`watching`, `moving`, `failing_over`, `recovering`, `breaking`, `directing`, `alerting`, `observing`) makes what does
it, and `activities` all of them, in the order in which they must be made. `assembly` puts them together with what is
shown to operators (`showing`), and takes over a new configuration. `app` runs what comes out of it.
"""
