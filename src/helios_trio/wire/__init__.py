"""PostgreSQL's frontend/backend protocol, versions 3.0 and 3.2, in both roles and without any I/O.

Bytes in, events out, bytes out: nothing here knows a socket, a clock or Trio, and nothing waits. Malformed
input raises `ProtocolViolation`, never anything else, in bounded time and memory.

* `codes`: type bytes and version numbers
* `frames`: a stream of bytes cut into frames; `startup`, `options`: the packets before the first frame
* `backend_messages`, `frontend_messages`, `error_fields`: every message as a class
* `layout`: how the fields of messages look
* `names`: names of statements and portals in frames, without objects
* `replies`: the queue of expected replies, for the relay
* `passwords`, `scram`, `saslprep`: proofs of identity, both roles
* `states`, `state_tables`: which message may come when
"""
