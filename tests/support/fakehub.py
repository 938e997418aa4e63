"""A hub on this machine: what huggingface_hub asks of one to make a model, to commit files and to fetch them, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """Models by name, each a dictionary of files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.models: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def commit_of(self, name: str) -> str:
        """40 letters that change with the files."""
        return hashlib.sha1(repr(sorted(self.models[name].items())).encode()).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.partition("?")[0].split("/")[1:]
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.models.setdefault(name, {})
            self.server.private[name] = asked.get("private", asked.get("visibility") == "private")
            return self._json({"url": f"{self.server.endpoint}/{name}"})
        if parts == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        name = "/".join(parts[2:4])
        if name not in self.server.models:
            return self._answer(404, X_Error_Code="RepoNotFound")
        if parts[4] == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self._json({"files": files})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.server.models[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        sha = self.server.commit_of(name)
        return self._json({"commitUrl": f"{self.server.endpoint}/{name}/commit/{sha}", "commitOid": sha, "success": True})

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].split("/")[1:]
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            if name not in self.server.models:
                return self._answer(404, X_Error_Code="RepoNotFound")
            sha = self.server.commit_of(name)
            if "tree" in parts:
                files = self.server.models[name].items()
                return self._json([{"type": "file", "path": path, "size": len(data), "oid": sha} for path, data in files])
            siblings = [{"rfilename": path} for path in self.server.models[name]]
            return self._json({"id": name, "modelId": name, "sha": sha, "siblings": siblings, "private": True, "tags": []})
        name, path = "/".join(parts[:2]), "/".join(parts[4:])
        data = self.server.models.get(name, {}).get(path)
        if data is None:
            return self._answer(404, X_Error_Code="EntryNotFound")
        tag = hashlib.sha1(data).hexdigest()
        return self._answer(200, data, ETag=f'"{tag}"', X_Repo_Commit=self.server.commit_of(name))

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def hub() -> Iterator[Hub]:
    """The hub while it runs."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
