import re
from types import SimpleNamespace

import pytest
from hub_client import Client
from hub_contents import Repo
from hub_server import serving


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A hub on this machine and a process that talks to it."""
    with serving() as (hub, url):
        home = tmp_path_factory.mktemp("hub-home")
        client = Client(url, home)
        yield SimpleNamespace(hub=hub, url=url, client=client, home=home)
        client.close()


@pytest.fixture
def hub(served, request):
    """The hub, for names that only this test uses: `name` is their beginning."""
    served.hub.asked.clear()
    served.hub.broken.clear()
    served.hub.down = False
    served.name = "owner/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:80].strip("-")
    yield served
    served.hub.down = False


@pytest.fixture
def files():
    """The files of a model, as far as fetching them goes."""
    return {
        "config.json": b'{"model_type": "bert"}',
        "model.safetensors": b"weights" * 2000,
        "tokenizer.json": b"{}",
        "README.md": b"---\nlicense: mit\n---\n",
    }


@pytest.fixture
def add(hub):
    """Put a model on the hub under the test's own name."""

    def put(files, *, also=None, **settings):
        hub.hub.models[hub.name] = Repo({"main": dict(files), **(also or {})}, **settings)
        return hub.name

    return put
