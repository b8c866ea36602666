"""A small server that speaks the routes of the hub which its clients use: for reading, resuming and writing."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from hub_contents import Hub, Repo, oid, sha256

LARGE = 4096
"""Files of more bytes than this are large-file objects, uploaded apart from the commit."""


class _Refused(Exception):
    def __init__(self, status, code="", message=""):
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *arguments):
        """Say nothing."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def answer(self):
        split = urlsplit(self.path)
        path, self.query = unquote(split.path), parse_qs(split.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        try:
            if self.hub.down:
                raise _Refused(503)
            self.user = self.who()
            for pattern, method in _ROUTES:
                found = re.fullmatch(pattern, path)
                if found and method.__name__.startswith(self.command.lower().replace("head", "get")):
                    return method(self, *found.groups())
            raise _Refused(404, "", "no such route")
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self.send(refused.status, json.dumps({"error": refused.message}).encode(), headers)

    def who(self):
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if given and given not in self.hub.tokens:
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        self.token = given
        return self.hub.tokens.get(given)

    def send(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value, status=200):
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    # reading

    def readable(self, type, name):
        repo = self.hub.repo(type, name)
        if repo is None or (repo.private and self.token not in repo.readers and self.user != name.split("/")[0]):
            raise _Refused(404 if self.user else 401, "RepoNotFound", "Repository not found")
        return repo

    def files(self, repo, revision):
        try:
            return repo.revisions[repo.named(revision)]
        except KeyError:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}") from None

    def get_info(self, type, name, revision=None):
        repo = self.readable(type, name)
        revision = revision or "main"
        files = self.files(repo, revision)
        self.json(
            {
                "id": name,
                "sha": repo.sha(revision),
                "private": repo.private,
                "gated": repo.gated,
                "siblings": [{"rfilename": path} for path in files],
                "tags": [],
            }
        )

    def entries(self, files):
        for path, content in sorted(files.items()):
            entry = {"type": "file", "path": path, "size": len(content), "oid": oid(content)}
            if len(content) > LARGE:
                entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
            yield entry

    def get_tree(self, type, name, revision, under=""):
        files = self.files(self.readable(type, name), revision)
        under = (under or "").strip("/")
        if under:
            files = {path: content for path, content in files.items() if path.startswith(under + "/")}
            if not files:
                raise _Refused(404, "EntryNotFound", "not there")
        if self.query.get("recursive", ["false"])[0].lower() == "true":
            return self.json(list(self.entries(files)))
        depth = under.count("/") + 2 if under else 1
        here = {path: content for path, content in files.items() if path.count("/") < depth}
        folders = {"/".join(path.split("/")[:depth]) for path in files if path.count("/") >= depth}
        listed = [{"type": "directory", "path": path, "oid": oid(path.encode()), "size": 0} for path in folders]
        return self.json([*listed, *self.entries(here)])

    def post_paths(self, type, name, revision):
        files = self.files(self.readable(type, name), revision)
        given = json.loads(self.body) if self.body[:1] == b"{" else parse_qs(self.body.decode())
        asked = given.get("paths", [])
        found = [entry for entry in self.entries(files) if entry["path"] in asked]
        for path in asked:
            if any(each.startswith(f"{path}/") for each in files):
                found.append({"type": "directory", "path": path, "oid": oid(path.encode()), "size": 0})
        self.json(found)

    def get_refs(self, type, name):
        repo = self.readable(type, name)
        branches = [{"name": each, "ref": f"refs/heads/{each}", "targetCommit": ""} for each in repo.revisions]
        self.json({"branches": branches, "tags": [], "converts": []})

    def get_file(self, datasets, name, rest):
        repo = self.readable("datasets" if datasets else "models", name)
        if repo.gated and self.token not in repo.readers:
            raise _Refused(403 if self.user else 401, "GatedRepo", "Access is restricted")
        revision = next((each for each in repo.revisions if rest.startswith(f"{each}/")), rest.split("/")[0])
        files, path = self.files(repo, revision), rest.removeprefix(revision).lstrip("/")
        commit = {"X-Repo-Commit": repo.sha(revision)}
        if path not in files:
            error = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self.send(404, b"", {**commit, **error})
        content = files[path]
        tag = sha256(content) if len(content) > LARGE else oid(content)
        headers = {**commit, "ETag": f'"{tag}"', "Accept-Ranges": "bytes", "X-Linked-Size": str(len(content))}
        start = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if start is None:
            if self.command == "GET" and path in self.hub.broken:
                self.hub.broken.discard(path)
                self.send_response(200)
                for header, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.close_connection = True
                return None
            return self.send(200, content, headers)
        first, last = int(start[1]), min(int(start[2] or len(content)), len(content) - 1)
        span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return self.send(206, content[first : last + 1], {**headers, **span})

    # writing

    def writable(self, type, name):
        repo = self.readable(type, name)
        if self.user != name.split("/")[0]:
            raise _Refused(403, "", "You don't have the rights to write to this repository")
        return repo

    def get_user(self):
        if self.user is None:
            raise _Refused(401, "", "Invalid username or password.")
        self.json({"name": self.user, "type": "user", "auth": {"accessToken": {"role": "write"}}, "orgs": []})

    def post_create(self):
        asked = json.loads(self.body)
        if self.user is None:
            raise _Refused(401, "", "Invalid username or password.")
        owner = asked.get("organization") or self.user
        if owner != self.user:
            raise _Refused(403, "", f"You don't have the rights to create a model under the namespace {owner}")
        name = f"{owner}/{asked['name']}"
        if name in self.hub.models:
            return self.json({"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}, 409)
        private = asked.get("private") is True or asked.get("visibility") == "private"
        self.hub.models[name] = Repo(private=private)
        return self.json({"url": f"{self.server.url}/{name}", "name": name})

    def post_branch(self, type, name, branch):
        repo = self.writable(type, name)
        if branch in repo.revisions:
            return self.send(409, b'{"error": "Reference already exists"}')
        repo.revisions[branch] = dict(repo.revisions["main"])
        return self.json({})

    def post_yaml(self):
        self.json({"errors": [], "warnings": []})

    def post_preupload(self, type, name, revision):
        files = self.files(self.writable(type, name), revision)
        asked = json.loads(self.body)["files"]
        self.json(
            {
                "files": [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if each["size"] > LARGE else "regular",
                        "shouldIgnore": False,
                        "oid": oid(files[each["path"]]) if each["path"] in files else None,
                    }
                    for each in asked
                ]
            }
        )

    def post_batch(self, name):
        self.writable("models", name)
        objects = [
            {
                **each,
                "authenticated": True,
                "actions": {"upload": {"href": f"{self.server.url}/objects/{each['oid']}", "header": {}}},
            }
            for each in json.loads(self.body)["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def put_object(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refused(400, "", "other contents than announced")
        self.hub.objects[oid] = self.body
        self.send(200)

    def post_commit(self, type, name, revision):
        repo = self.writable(type, name)
        files = dict(self.files(repo, revision))
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repo.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repo.revisions[revision] = files
        sha = repo.sha(revision)
        self.json({"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{name}/commit/{sha}"})


_NAME = r"([\w.-]+(?:/[\w.-]+)?)"
_ROUTES = (
    (r"/api/whoami-v2", _Handler.get_user),
    (r"/api/repos/create", _Handler.post_create),
    (r"/api/validate-yaml", _Handler.post_yaml),
    (r"/objects/(\w+)", _Handler.put_object),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler.post_batch),
    (rf"/api/(models|datasets)/{_NAME}/refs", _Handler.get_refs),
    (rf"/api/(models|datasets)/{_NAME}/tree/([^/]+)(/.*)?", _Handler.get_tree),
    (rf"/api/(models|datasets)/{_NAME}/paths-info/(.+)", _Handler.post_paths),
    (rf"/api/(models|datasets)/{_NAME}/revision/(.+)", _Handler.get_info),
    (rf"/api/(models|datasets)/{_NAME}/branch/(.+)", _Handler.post_branch),
    (rf"/api/(models|datasets)/{_NAME}/preupload/(.+)", _Handler.post_preupload),
    (rf"/api/(models|datasets)/{_NAME}/commit/(.+)", _Handler.post_commit),
    (rf"/(datasets/)?{_NAME}/resolve/(.+)", _Handler.get_file),
    (rf"/api/(models|datasets)/{_NAME}", _Handler.get_info),
)


@contextmanager
def serving():
    """A hub on this machine: (what it holds, its address)."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub, server.url = Hub(), f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.hub, server.url
    finally:
        server.shutdown()
        server.server_close()
