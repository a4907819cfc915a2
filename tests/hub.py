"""A Hugging Face Hub on this machine, as far as a model is pushed and fetched: the real client speaks to it."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0" * 40


@contextmanager
def served() -> Iterator[tuple[str, dict[str, bytes]]]:
    """(Its address, "user/name/file" -> content of what is kept there)."""
    kept: dict[str, bytes] = {}

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            what = self.path.split("?")[0]
            if what == "/api/repos/create":
                asked = json.loads(body)
                found: dict[str, Any] = {"url": f"{address}/{asked.get('organization', 'ada')}/{asked['name']}"}
            elif "/preupload/" in what:
                files = json.loads(body)["files"]
                found = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            elif "/commit/" in what:
                repo = "/".join(what.split("/")[3:5])
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        kept[f"{repo}/{line['value']['path']}"] = base64.b64decode(line["value"]["content"])
                found = {"commitUrl": f"{address}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "hookOutput": ""}
            else:
                found = {}
            self._answer(200, json.dumps(found).encode(), Content_Type="application/json")

        def do_GET(self) -> None:
            repo, _, file = self.path.strip("/").partition("/resolve/")
            content = kept.get(f"{repo}/{file.partition('/')[2]}")
            if content is None:
                self._answer(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            else:
                self._answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=COMMIT)

        do_HEAD = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address, kept
    finally:
        server.shutdown()
        server.server_close()
