"""What `helios setup` creates so that sequences can be moved past the numbers that clients have seen (rule 31).

After a failover a sequence may stand before numbers that its clients were given. The proxy's own user has no rights on
their sequences, and clients need none on those of identity columns, so a function draws with its owner's rights.

Used by: control.setup. The function is called by failover.sequence_moves.
"""

from __future__ import annotations

from helios_trio.control.setup_parts import SCHEMA, SetupSettings, SetupStatement, name

#: how many values one call draws at most; servers log 32 ahead
MAX_DRAWS = 10_000

_FUNCTION = f"{SCHEMA}.pass_sequence(regclass, bigint)"


def sequence_moves() -> tuple[SetupStatement, ...]:
    """The function; every statement may be repeated."""
    return (
        SetupStatement(
            "Draws from a sequence until its next value comes after this one; false: that is too far, or it cycles",
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.pass_sequence(moved regclass, past bigint)\n"
            "  RETURNS boolean LANGUAGE plpgsql VOLATILE\n"
            "  SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
            "AS $helios$ DECLARE\n"
            "  facts pg_sequence := (SELECT s FROM pg_sequence s WHERE s.seqrelid = moved);\n"
            "  reached bigint := pg_sequence_last_value(moved);\n"
            "BEGIN\n"
            "  IF facts.seqcycle THEN RETURN false; END IF;\n"
            f"  FOR draws IN 0..{MAX_DRAWS} LOOP\n"
            "    IF facts.seqincrement > 0 AND reached >= past OR facts.seqincrement < 0 AND reached <= past THEN\n"
            "      RETURN true;\n"
            "    END IF;\n"
            f"    IF draws < {MAX_DRAWS} THEN reached := nextval(moved); END IF;\n"
            "  END LOOP;\n"
            "  RETURN false;\n"
            "END $helios$",
        ),
        SetupStatement(
            "It acts with its owner's rights", f"ALTER FUNCTION {_FUNCTION} OWNER TO CURRENT_USER"
        ),
    )


def sequence_rights(settings: SetupSettings) -> tuple[SetupStatement, ...]:
    """Who may use it, once nobody may."""
    return (
        SetupStatement(
            "The proxy's own user moves sequences",
            f"GRANT EXECUTE ON FUNCTION {_FUNCTION} TO {name(settings.control_user)}",
        ),
    )
