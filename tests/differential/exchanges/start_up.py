"""Exchanges of opening a connection: parameters, options, versions, refusals, what a session then reports."""

from __future__ import annotations

from helios_trio.testing.requests import Raw
from helios_trio.wire.codes import PROTOCOL_3_0, PROTOCOL_3_2
from helios_trio.wire.startup import CancelRequest, GSSENCRequest, SSLRequest

from ._exchange import Open, OpenSocket, ReadByte, ask, closed, exchange, frame, query, raw, send, wait_for

REFUSED = {"expect_ready": False}


def packet(request):
    """A packet without type byte, to be sent."""
    return Raw(request.encode())


EXCHANGES = (
    exchange("plain_start_up", ask(query("select current_user, current_database()"))),
    exchange(
        "application_name", ask(query("show application_name")), parameters={"application_name": "corpus"}
    ),
    exchange(
        "application_name_is_cleaned",
        ask(query("show application_name")),
        parameters={"application_name": "naïve ☃ name"},
    ),
    exchange(
        "application_name_too_long",
        ask(query("show application_name")),
        parameters={"application_name": "x" * 200},
    ),
    exchange(
        "client_encoding_latin1",
        ask(query("show client_encoding")),
        ask(query(b"select 'caf\xe9', length('caf\xe9')")),
        parameters={"client_encoding": "LATIN1"},
    ),
    exchange(
        "client_encoding_sql_ascii",
        ask(query("show client_encoding")),
        ask(query(b"select 'caf\xc3\xa9'")),
        parameters={"client_encoding": "SQL_ASCII"},
    ),
    exchange("client_encoding_unknown", Open(**REFUSED), closed(), parameters={"client_encoding": "KLINGON"}),
    exchange(
        "date_style_and_time_zone",
        ask(query("select '2024-02-29 12:00+00'::timestamptz")),
        parameters={"DateStyle": "German", "TimeZone": "Asia/Kolkata"},
    ),
    exchange(
        "options_c",
        ask(query("show work_mem")),
        ask(query("show datestyle")),
        parameters={"options": "-c work_mem=3MB -c datestyle=German"},
    ),
    exchange(
        "options_long",
        ask(query("show work_mem")),
        ask(query("reset work_mem; show work_mem")),
        parameters={"options": "--work-mem=3MB --search_path=one"},
    ),
    exchange(
        "options_escaped",
        ask(query("show application_name")),
        parameters={"options": "-c application_name=with\\ space\\\\and\\ backslash"},
    ),
    exchange(
        "options_placeholder", ask(query("show app.tenant_id")), parameters={"options": "-c app.tenant_id=9"}
    ),
    exchange(
        "options_and_parameter",
        ask(query("show work_mem")),
        parameters={"options": "-c work_mem=3MB", "work_mem": "5MB"},
    ),
    exchange(
        "options_invalid_setting", Open(**REFUSED), closed(), parameters={"options": "-c no_such_setting=1"}
    ),
    exchange("options_invalid_value", Open(**REFUSED), closed(), parameters={"options": "-c work_mem=lots"}),
    exchange("options_without_value", Open(**REFUSED), closed(), parameters={"options": "-c work_mem"}),
    exchange("options_unknown_switch", Open(**REFUSED), closed(), parameters={"options": "-Y"}),
    exchange("parameter_unknown", Open(**REFUSED), closed(), parameters={"no_such_setting": "1"}),
    exchange("parameter_invalid_value", Open(**REFUSED), closed(), parameters={"work_mem": "lots"}),
    exchange("parameter_needs_restart", Open(**REFUSED), closed(), parameters={"max_connections": "5"}),
    exchange("parameter_case_insensitive", ask(query("show work_mem")), parameters={"WORK_MEM": "3MB"}),
    exchange("search_path_at_start", ask(query("select * from placed")), parameters={"search_path": "two"}),
    exchange(
        "role_at_start",
        ask(query("select current_user, session_user")),
        ask(query("reset role; select current_user")),
        parameters={"role": "nobody_special"},
    ),
    exchange(
        "default_read_only_at_start",
        ask(query("create table never (a int)")),
        parameters={"default_transaction_read_only": "on"},
    ),
    exchange("unknown_database", Open(parameters={"database": "no_such_database"}, **REFUSED), closed()),
    exchange("unknown_user", Open(parameters={"user": "no_such_user"}, **REFUSED), closed()),
    exchange("user_without_login", Open(parameters={"user": "nobody_special"}, **REFUSED), closed()),
    exchange("no_user", Open(parameters={"user": None}, **REFUSED), closed()),
    exchange("empty_user", Open(parameters={"user": ""}, **REFUSED), closed()),
    exchange(
        "database_defaults_to_user",
        Open(parameters={"database": None, "user": "lonely"}, **REFUSED),
        closed(),
    ),
    exchange(
        "database_that_takes_no_connections", Open(parameters={"database": "template0"}, **REFUSED), closed()
    ),
    exchange(
        "database_name_with_space", Open(parameters={"database": "no such database "}, **REFUSED), closed()
    ),
    exchange("protocol_3_2", Open(version=PROTOCOL_3_2), ask(query("select 1"))),
    exchange("protocol_3_1_is_unused", Open(version=PROTOCOL_3_0 + 1), ask(query("select 1"))),
    exchange("protocol_3_9_negotiated", Open(version=PROTOCOL_3_0 + 9), ask(query("select 1"))),
    exchange(
        "protocol_3_9999_grease",
        Open(version=PROTOCOL_3_0 + 9999, parameters={"_pq_.test_protocol_negotiation": ""}),
        ask(query("select 1")),
    ),
    exchange(
        "protocol_option_unknown",
        Open(parameters={"_pq_.no_such_option": "x", "_pq_.another": ""}),
        ask(query("select 1")),
    ),
    exchange("protocol_4_refused", Open(version=4 << 16, **REFUSED), closed()),
    exchange("protocol_2_refused", Open(version=2 << 16, **REFUSED), closed()),
    exchange("protocol_0_refused", Open(version=0, **REFUSED), closed()),
    exchange(
        "ssl_refused_then_plain",
        OpenSocket(),
        send(packet(SSLRequest())),
        ReadByte(),
        Open(),
        ask(query("select 1")),
    ),
    exchange(
        "gss_refused_then_plain",
        OpenSocket(),
        send(packet(GSSENCRequest())),
        ReadByte(),
        Open(),
        ask(query("select 1")),
    ),
    exchange(
        "gss_then_ssl_then_plain",
        OpenSocket(),
        send(packet(GSSENCRequest())),
        ReadByte(),
        send(packet(SSLRequest())),
        ReadByte(),
        Open(),
        ask(query("select 1")),
    ),
    exchange(
        "ssl_twice_refused",
        OpenSocket(),
        send(packet(SSLRequest())),
        ReadByte(),
        send(packet(SSLRequest())),
        closed(),
    ),
    exchange(
        "gss_twice_refused",
        OpenSocket(),
        send(packet(GSSENCRequest())),
        ReadByte(),
        send(packet(GSSENCRequest())),
        closed(),
    ),
    exchange(
        "start_up_too_short", OpenSocket(), send(raw(b"\x00\x00\x00\x07abc")), closed(), may_explain=True
    ),
    exchange(
        "start_up_too_long",
        OpenSocket(),
        send(raw(b"\x00\x01\x00\x00\x00\x03\x00\x00")),
        closed(),
        may_explain=True,
    ),
    exchange(
        "start_up_negative_length",
        OpenSocket(),
        send(raw(b"\xff\xff\xff\xff\x00\x03\x00\x00")),
        closed(),
        may_explain=True,
    ),
    exchange(
        "start_up_without_terminator",
        OpenSocket(),
        send(raw(b"\x00\x00\x00\x15\x00\x03\x00\x00user\x00postgres")),
        closed(),
    ),
    exchange(
        "start_up_bytes_after_terminator",
        OpenSocket(),
        send(raw(b"\x00\x00\x00\x18\x00\x03\x00\x00user\x00postgres\x00\x00x")),
        closed(),
    ),
    exchange(
        "start_up_is_http",
        OpenSocket(),
        send(raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        closed(),
        may_explain=True,
    ),
    exchange(
        "cancel_with_unknown_key",
        OpenSocket(),
        send(packet(CancelRequest(12345, b"\x01\x02\x03\x04"))),
        closed(),
    ),
    exchange(
        "cancel_with_long_unknown_key",
        OpenSocket(),
        send(packet(CancelRequest(12345, b"k" * 256))),
        closed(),
        may_explain=True,
    ),
    exchange("query_before_start_up", OpenSocket(), send(query("select 1")), closed(), may_explain=True),
    exchange("password_when_none_was_asked", Open(), send(frame("p", b"secret\x00")), closed()),
    exchange(
        "pipelined_query_after_start_up_packet",
        Open(expect_ready=False),
        send(query("select 'early'")),
        wait_for("CommandComplete"),
        wait_for("ReadyForQuery"),
    ),
    exchange("second_start_up_packet", Open(), send(raw(b"\x00\x00\x00\x08\x00\x03\x00\x00")), closed()),
)
