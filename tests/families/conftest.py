import pytest

from infoprune.families import FAMILIES


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return FAMILIES[request.param]
