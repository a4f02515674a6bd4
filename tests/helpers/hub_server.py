"""A stand-in for the Hugging Face hub: a server with the endpoints that `HfApi` uses to publish.

It stores what is committed, as the hub does: small files from the commit itself, large ones by
their hash from the LFS endpoints. It does not speak Xet (`HF_HUB_DISABLE_XET`).
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_standin"


@dataclass
class Repo:
    """A repository: its visibility, its files, the messages of its commits."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"\n"})
    commits: list[str] = field(default_factory=list)


class Hub:
    """A hub at `url`; `requests` has the method and path of each request."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.writable = True  # whether the token may write

    def __enter__(self) -> "Hub":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_POST = do_PUT = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        path = urlsplit(request.path).path
        self.requests.append(f"{request.command} {path}")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        signed = path.startswith("/lfs/") or path == "/api/validate-yaml"  # an address of storage
        if not signed and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return send(request, 401, {"error": "Invalid username or password."})
        for method, pattern, handle in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == request.command:
                return send(request, *handle(self, body, *found.groups()))
        return send(request, 404, {"error": f"no such endpoint: {request.command} {path}"})

    def create(self, body: bytes) -> tuple:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self.writable:
            return 403, {"error": f"You don't have the rights to create a model under {name}."}
        if name in self.repos:
            return 409, {"error": "You already created this model repo"}
        self.repos[name] = Repo(private=asked.get("visibility") == "private")
        return 200, {"url": f"{self.url}/{name}", "name": name}

    def info(self, body: bytes, name: str) -> tuple:
        if name not in self.repos:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        repo = self.repos[name]
        siblings = [{"rfilename": path} for path in repo.files]
        about = {"id": name, "modelId": name, "private": repo.private, "siblings": siblings}
        return 200, about | {"sha": "0" * 40, "tags": [], "downloads": 0}

    def tree(self, body: bytes, name: str) -> tuple:
        files = self.repos[name].files.items()
        return 200, [
            {"type": "file", "path": path, "size": len(text), "oid": git_oid(text)}
            for path, text in files
        ]

    def preupload(self, body: bytes, name: str) -> tuple:
        asked, have = json.loads(body)["files"], self.repos[name].files
        return 200, {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": git_oid(have[file["path"]]) if file["path"] in have else None,
                }
                for file in asked
            ]
        }

    def batch(self, body: bytes, name: str) -> tuple:
        objects = []
        for asked in json.loads(body)["objects"]:
            upload = {"href": f"{self.url}/lfs/{asked['oid']}", "header": {}}
            actions = {} if asked["oid"] in self.objects else {"actions": {"upload": upload}}
            objects.append({"oid": asked["oid"], "size": asked["size"], **actions})
        return 200, {"transfer": "basic", "objects": objects}

    def store(self, body: bytes, oid: str) -> tuple:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "the content does not have this hash"}
        self.objects[oid] = body
        return 200, {}

    def commit(self, body: bytes, name: str) -> tuple:
        repo = self.repos[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    repo.commits.append(value["summary"])
                case "file":
                    repo.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    repo.files[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    del repo.files[value["path"]]
        oid = f"{len(repo.commits):040x}"
        address = f"{self.url}/{name}/commit/{oid}"
        return 200, {"commitUrl": address, "commitOid": oid, "success": True}

    def valid(self, body: bytes) -> tuple:
        return 200, {"errors": [], "warnings": []}


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("POST", "/api/repos/create", Hub.create),
    ("POST", "/api/validate-yaml", Hub.valid),
    ("GET", f"/api/models/{NAME}", Hub.info),
    ("GET", f"/api/models/{NAME}/revision/main", Hub.info),
    ("GET", f"/api/models/{NAME}/tree/main", Hub.tree),
    ("POST", f"/api/models/{NAME}/preupload/main", Hub.preupload),
    ("POST", f"/{NAME}.git/info/lfs/objects/batch", Hub.batch),
    ("PUT", r"/lfs/(\w+)", Hub.store),
    ("POST", f"/api/models/{NAME}/commit/main", Hub.commit),
]


def git_oid(content: bytes) -> str:
    """Return the id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def send(
    request: BaseHTTPRequestHandler, code: int, body: object, headers: dict | None = None
) -> None:
    """Send JSON."""
    text = json.dumps(body).encode()
    request.send_response(code)
    fixed = {"Content-Type": "application/json", "Content-Length": str(len(text))}
    for name, value in (fixed | (headers or {})).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(text)
