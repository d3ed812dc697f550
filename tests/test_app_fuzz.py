"""Schemathesis over the app's OpenAPI schema: whatever is sent to whatever address, nothing answers with a 5xx."""

import os

import pytest
from hypothesis import HealthCheck, given, settings

from app_chromium import served
from app_site import app_over, make_site, queue, token_for

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: the fuzz test is skipped")
BY_HAND = os.environ.get("RADVQA_FUZZ")
EXAMPLES = int(BY_HAND or "8")
"""For each route, the same ones every time; with RADVQA_FUZZ=300 so many, and others each time."""
KNOWN = {"shelf": "phantom", "run": "small", "number": 1, "place": 1, "method": "raw", "key": "0" * 64}
"""What addresses lead somewhere: half of what is sent goes there, the rest wherever the generator says."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(schema, address, cookie and form token): nobody has an account, so every door opens."""
    folder = tmp_path_factory.mktemp("site")
    app = app_over(make_site(folder), folder / "app.sqlite", model="radvqa-tiny", methods=("raw",))
    queue(app)
    app.state.ratings.make_set("small", ["base", "stage2"], 4, 0)
    with served(app) as address:
        yield schemathesis.openapi.from_dict(app.openapi()), address, token_for(address)


def test_nothing_answers_with_a_5xx(site):
    schema, address, (cookie, token) = site
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 25, "all rooms are in the schema"
    answered: dict[int, int] = {}
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES, derandomize=BY_HAND is None, database=None, suppress_health_check=list(HealthCheck)
        )
        def sent(case):
            number = sum(answered.values())
            if number % 2:
                case.path_parameters = {name: KNOWN[name] for name in case.path_parameters or {}}
            if isinstance(case.body, dict) and "csrf" in case.body and number % 4:
                case.body["csrf"] = token
            case.headers = {**(case.headers or {}), "cookie": cookie, "x-csrf-token": token}
            case.cookies = {}
            response = case.call(base_url=address)
            answered[response.status_code] = answered.get(response.status_code, 0) + 1
            assert response.status_code < 500, (case.method, case.path)

        sent()
    print(f"{len(operations)} routes, answers by status: {dict(sorted(answered.items()))}")
    assert sum(answered.values()) >= EXAMPLES * 10
    assert answered.get(200, 0) > len(operations), "much of it was let in: the doors are not all that was tried"
