"""A hub that runs here: what huggingface_hub asks of one, over HTTP."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def commit_of(files: dict[str, bytes]) -> str:
    """40 digits that stand for the content."""
    text = repr(sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items()))
    return hashlib.sha1(text.encode()).hexdigest()


@dataclass
class Hub:
    """Repositories: name -> revision -> files; a gated one tells its files, and gives none.

    Attributes:
        asked: method and path of every request.
    """

    url: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def put(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Its commit, as the newest of the revision; older commits stay."""
        commit = commit_of(files)
        self.repositories.setdefault(name, {}).update({revision: files, commit: files})
        return commit

    def downloads(self) -> list[str]:
        """The files that were downloaded, each time."""
        files = [line.partition("/resolve/")[2] for line in self.asked if line.startswith("GET")]
        return sorted(file.partition("/")[2] for file in files if file)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        is_api = path.startswith("/api/")
        words = path.removeprefix("/api").removeprefix("/datasets/").split("/", 3)
        if len(words) < 4:
            return 404, {}, b"{}"
        owner, name, kind, rest = words
        key = f"{owner}/{name}"
        if key not in self.repositories:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        revisions = self.repositories[key]
        revision, _, file = (rest, "", "") if kind == "revision" else rest.partition("/")
        if revision not in revisions:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = revisions[revision]
        if is_api and kind == "revision":
            body = {"id": key, "sha": commit_of(files), "siblings": []}
            return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()
        if is_api:
            tree = [
                {"type": "file", "path": p, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                for p, d in files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if key in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        data = files[file]
        headers = {
            "X-Repo-Commit": commit_of(files),
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
        }
        return 200, headers, data


@contextmanager
def serve() -> Iterator[Hub]:
    """An empty hub on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            status, headers, body = hub.answer(path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
