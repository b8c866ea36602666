"""What the local hub holds: repositories with files, users, and what it was asked."""

import hashlib
from dataclasses import dataclass, field
from functools import cache


@dataclass
class Repo:
    """A repository: the files of every revision, and who may read it."""

    revisions: dict = field(default_factory=lambda: {"main": {}})
    private: bool = False
    gated: bool = False
    readers: tuple = ()  # tokens that may read it where it is private or gated
    messages: list = field(default_factory=list)

    def sha(self, revision):
        files = self.revisions[self.named(revision)]
        return hashlib.sha1(repr(sorted((path, oid(content)) for path, content in files.items())).encode()).hexdigest()

    def named(self, revision):
        """The name of a revision that is given by its name or by its commit; KeyError where there is none."""
        if revision in self.revisions:
            return revision
        found = [name for name in self.revisions if self.sha(name) == revision]
        if not found:
            raise KeyError(revision)
        return found[0]


class Hub:
    """What the server holds, and what it was asked."""

    def __init__(self):
        self.models, self.datasets = {}, {}
        self.tokens = {"writer": "owner", "reader": "guest"}  # token: user
        self.asked = []  # (method, path, range)
        self.broken = set()  # paths whose next download ends half way
        self.objects = {}  # sha256: bytes, uploaded and not yet committed
        self.down = False

    def repo(self, type, name):
        return {"models": self.models, "datasets": self.datasets}[type].get(name)

    def fetched(self, name):
        """The files of a repository whose contents were asked for."""
        return {
            path.partition(f"{name}/resolve/")[2].partition("/")[2]
            for method, path, _ in self.asked
            if method == "GET" and f"/{name}/resolve/" in path
        }


@cache
def oid(content):
    """The name that git gives a file's contents."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@cache
def sha256(content):
    return hashlib.sha256(content).hexdigest()
