"""helios_trio: a PostgreSQL proxy whose client sessions outlive their servers.

The nouns, and where they live:

* `VirtualSession` (`session/`) - what a client believes its session to be: settings, prepared statements, pins.
* `RequestStream` (`session/`) and `ReplyStream` (`wire/`) - the two halves of the way of the data, without any I/O:
  what a client sends, made fit for its server connection; what a server owes, cut into the client's and our own.
* `Backend` (`pipeline/`) - one PostgreSQL server that the proxy may use: data only; its state is in `Topology`.
* `BackendConnection` (`pool/`) - one authenticated connection to a backend, with the label of the state it carries.
* `Pool` and `Planner` (`pool/`) - who gets which connection: decided by the planner, done by the pool.
* `Session` (`proxy/`) - the Trio side of a client: its nursery, its socket, its `VirtualSession`, its lease.
* `BackendLease` (`pool/`) - the right of one session to use one connection, for whoever can wait: moving a session
  is opening a lease elsewhere, carrying its state there, and keeping the new connection.
* `Standstill` (`proxy/`) - a session at its safe point, where its connection can be exchanged.
* `Plan` (`session/carrying/`) - what is said to two servers to carry a session's state from one to the other: a
  generator without I/O; `Dialogue` (`migration/`) does its steps.
* `Fleet` (`pipeline/`) - the port through which sessions are listed, held, moved and let go, by id.
* `Migration`, `Switchover` (`migration/`) - all sessions of a server moved in phases, or a standby made the primary.
* `Controller` and `Succession` (`failover/`) - who notices that a primary is gone, and one search for its successor.
* `RecoverableSession` (`failover/`) - a session that outlives its server: its `Journal` has what its client and the
  server have said since the transaction began, and `recovery` has it go on elsewhere.
* `CommitGuard` (`session/`) and `OutcomeResolver` (`failover/`) - a transaction writes down its name before it commits,
  and by that it is found out whether it has.
* `RoutedSession` and `Router` (`features/routing/`) - a session whose requests go to several servers, and who is asked
  where; a `Question` goes in and a `Decision` comes out, made by the `Filter`s, `Preference`s and the `Strategy`
  (`pipeline/routing.py`) that features contribute.
* `Floor` (`pipeline/`) and `Positions` (`features/lag_routing/`) - what a session has written and must find again when
  it reads; how far the servers have come.
* `Breakers` (`features/circuit_breaker/`) - a circuit for each backend, which opens when the backend does badly.
* `Topology` (`cluster/`) - which servers there are and which of them takes writes; `Probes` ask the servers, an
  `Appointment` is what Patroni or an operator says instead, the `Herald` tells what has changed.
* `Readiness` (`net/`) - one epoll for all sockets through which bytes merely pass, served by one Trio task.
* `EmbeddedCluster` (`embedded/`) - a real PostgreSQL cluster from a wheel: the default of `serve`.
* `Assembly` (`composition/`) - all of these, made from one `Config` and wired to each other; `app` runs them.
"""

__version__ = "0.1.0"
