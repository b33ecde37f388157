"""`AdminClient`: the admin API of a running proxy, as the commands use it; errors become ours, in words for people.

Used by: cli.sessions, cli.migrating, cli.switching, cli.events, cli.status, cli.top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from attrs import frozen

from helios_trio.errors import HeliosError

if TYPE_CHECKING:
    import httpx

Command = TypeVar("Command", bound=Callable[..., Any])

#: Seconds for an answer: a drain or a session that is waited for may take long.
TIME_LIMIT: Final = 120.0
_CONNECT_TIME_LIMIT: Final = 10.0
_PAGE: Final = 1000

LISTENER_HINT: Final = "Is `helios serve` running, and is --admin its admin listener?"
KEY_HINT: Final = (
    "Give a key with --key or HELIOS_ADMIN_KEY; `helios serve` prints one where no file has any."
)
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404


class NotThere(HeliosError):
    """The proxy does not have what was asked for: a thing of that name, or a feature that is off."""


class NoAnswer(HeliosError):
    """Nobody answers there."""


@frozen
class AdminClient:
    """One proxy's admin API."""

    url: str
    key: str | None

    def get(self, path: str, **query: Any) -> Any:
        """What is there. Raises HeliosError."""
        return self._send(
            "GET", path, params={name: each for name, each in query.items() if each is not None}
        )

    def post(self, path: str, **body: Any) -> Any:
        """The answer to an order. Raises HeliosError."""
        return self._send("POST", path, json={name: each for name, each in body.items() if each is not None})

    def sessions(self, **query: Any) -> Iterator[Any]:
        """All sessions that are asked for, page by page."""
        after = 0
        while after is not None:
            page = self.get("/api/v1/sessions", limit=_PAGE, after=after, **query)
            yield from page["sessions"]
            after = page["next"]

    def _send(self, method: str, path: str, **more: Any) -> Any:
        import httpx

        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        timeout = httpx.Timeout(TIME_LIMIT, connect=_CONNECT_TIME_LIMIT)
        try:
            # trust_env would send requests for this machine to a proxy of the company
            with httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False) as http:
                answer = http.request(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise NoAnswer(f"no answer from {self.url}: {error}", hint=LISTENER_HINT) from error
        if answer.is_success:
            return _json(answer)
        raise _refusal(answer)


def _json(answer: httpx.Response) -> Any:
    """Raises HeliosError: whoever answers is not ours."""
    try:
        return answer.json()
    except ValueError as error:
        raise HeliosError(
            f"{answer.request.url} did not answer with JSON; is it an admin listener?"
        ) from error


def _refusal(answer: httpx.Response) -> HeliosError:
    """A problem of the API, in words for people."""
    try:
        problem = answer.json()
        lines = [
            f"{each['path']}: {each['message']}".removeprefix(": ") for each in problem.get("errors", ())
        ]
        message = "\n".join(lines) or str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return HeliosError(f"{answer.request.url} answered {answer.status_code}; is it an admin listener?")
    hint = KEY_HINT if answer.status_code == _UNAUTHORIZED else problem.get("hint")
    return (NotThere if answer.status_code == _NOT_FOUND else HeliosError)(message, hint=hint)


def admin_options(command: Command) -> Command:
    """A command that gets an `api` made from `--admin` and `--key`."""

    @click.option(
        "--admin",
        "url",
        envvar="HELIOS_ADMIN_URL",
        default="http://127.0.0.1:9090",
        show_default=True,
        metavar="URL",
        help="The admin listener of the proxy; also HELIOS_ADMIN_URL.",
    )
    @click.option(
        "--key", envvar="HELIOS_ADMIN_KEY", metavar="KEY", help="An API key; also HELIOS_ADMIN_KEY."
    )
    @wraps(command)
    def with_api(*args: Any, url: str, key: str | None, **more: Any) -> Any:
        full = url if "://" in url else f"http://{url}"
        return command(*args, api=AdminClient(full.rstrip("/"), key or None), **more)

    return with_api  # type: ignore[return-value] # click keeps what the decorators below it have noted
