"""The page's server: every request carries the whole question, so nobody can disturb anybody's."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from causalcf.app.explain import Classified, explained_json, methods_json
from causalcf.app.session import Session
from causalcf.app.view import answer_json, drawn_json, facts_json, noise_json
from causalcf.core.errors import CausalCFError, DataError

__all__ = ["build", "listen", "serve"]

STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The browser itself holds the page to it: no other server is called."""

_log = logging.getLogger(__name__)

Ask = Callable[[Session, dict[str, str]], dict[str, Any]]

ASKED: dict[str, Ask] = {
    "answer": lambda session, _: answer_json(session),
    "check": lambda session, more: {"sentence": session.check(_world(more))},
    "noise": lambda session, _: noise_json(session),
    "see": lambda session, more: drawn_json(session, session.see(_world(more))),
    "do": lambda session, more: drawn_json(session, session.do(_world(more))),
}
"""The paths below /api/: name -> function of the session; the request's query holds the state."""


def build(session: Session, classified: Classified | None = None) -> Any:
    """The page of a session's model and data as an ASGI application.

    Args:
        session: Its state is where a visitor without a query starts.
        classified: The classifier that the last tab explains; None for no such tab.

    Raises:
        CausalCFError: The extra is not installed.
    """
    for needed in ("starlette", "uvicorn"):
        _need(needed)
    from starlette.applications import Starlette
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Route

    asked = ASKED | {
        "facts": lambda session, _: facts_json(session) | {"explain": methods_json(classified)},
        "explain": lambda session, more: explained_json(
            classified, session, more.get("method", ""), more.get("target", "")
        ),
    }
    one_at_a_time = threading.Lock()  # torch's random state is the process's

    def reply(request: Any) -> Any:
        name = request.path_params["name"]
        if name not in asked:
            return JSONResponse({"error": f"This page has no '{name}'. It has {list(asked)}."}, 404)
        query, more = _split(request.url.query)
        try:
            with one_at_a_time:
                return JSONResponse(asked[name](session.at(query) if query else session, more))
        except CausalCFError as error:
            return JSONResponse({"error": " ".join(str(error).split())}, 422)
        except Exception as error:  # a model of one's own may raise anything; the page lives on
            _log.exception("The model raised while answering %s", request.url)
            return JSONResponse({"error": f"The model raised {type(error).__name__}: {error}"}, 500)

    def file(request: Any) -> Any:
        name = request.path_params.get("name", "page.html")
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        found = {path.name: path for path in STATIC.iterdir()}.get(name)
        if found is None:
            return JSONResponse({"error": f"There is no file '{name}'."}, 404)
        return FileResponse(found, headers=headers)

    return Starlette(
        routes=[Route("/", file), Route("/static/{name}", file), Route("/api/{name}", reply)],
    )


def _split(query: str) -> tuple[str, dict[str, str]]:
    """The state's query, and the parameters of this request alone, such as the world."""
    parts = [part for part in query.split("&") if part]
    own = [part for part in parts if part.startswith("at.")]
    state = "&".join(part for part in parts if part not in own)
    return state, {key.removeprefix("at."): value for key, value in parse_qsl("&".join(own))}


def _world(more: dict[str, str]) -> int:
    text = more.get("world", "0")
    if not text.isdigit():
        raise DataError(f"'world' takes a whole number, got '{text}'. Correct it.")
    return int(text)


def _need(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise CausalCFError("The page needs starlette and uvicorn: pip install 'causalcf[app]'.") from None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a port in use is found before a model is loaded.

    Args:
        host: For example 127.0.0.1, this machine alone.
        port: 0 for any that is free.

    Raises:
        CausalCFError: The port is in use, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # from here on a browser waits for the page instead of being refused
    except OSError as error:
        listening.close()
        raise CausalCFError(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another, or any free one: --port 0."
        ) from None
    return listening


def serve(application: Any, listening: socket.socket) -> None:
    """Serve the application of `build` until it is stopped.

    Args:
        application: The page.
        listening: From `listen`.
    """
    config = _need("uvicorn").Config(application, log_level="warning", access_log=False)
    _need("uvicorn").Server(config).run(sockets=[listening])
