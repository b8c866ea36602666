import pytest
from zoo import kinds

from infoprune.families import FAMILIES


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(params=kinds())
def kind(request):
    """A family whose table is not that of another under another name."""
    return FAMILIES[request.param]
