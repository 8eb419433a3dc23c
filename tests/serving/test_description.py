"""The example's server keeps to the OpenAPI document that it publishes.

`KSN_EXAMPLES` is how many requests are made of each operation.
"""

import os

import pytest

from tests.serving.fixtures import *  # noqa: F403
from tests.serving.running import running

schemathesis = pytest.importorskip("schemathesis", reason="nox -s serve installs it")
from hypothesis import HealthCheck, Phase, settings  # noqa: E402

pytestmark = pytest.mark.serve
EXAMPLES = int(os.environ.get("KSN_EXAMPLES", "50"))
# Few images in a request, which are found sooner.
OPTIONS = ("--max-images", "2")
# More images than that are too large, which schemathesis does not expect to be said.
REFUSED = ["400", "403", "405", "408", "413", "415", "422"]
CHECKS = {"negative_data_rejection": {"expected-statuses": REFUSED}}


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.txt"
    with running(folder, log, *OPTIONS) as server:
        url = f"{server.url}/openapi.json"
        config = schemathesis.Config.from_dict({"checks": CHECKS})
        yield schemathesis.openapi.from_url(url, config=config)


schema = schemathesis.pytest.from_fixture("published")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_answers_are_as_described(case):
    case.call_and_validate()
