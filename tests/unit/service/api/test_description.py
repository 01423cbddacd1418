from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

from service.problems import MEDIA_TYPE

JSON = "application/json"


@pytest.fixture
def document(http: httpx.Client) -> dict[str, Any]:
    description: dict[str, Any] = http.get("/openapi.json").raise_for_status().json()
    return description


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_description_is_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_every_route_says_what_it_does_and_what_can_go_wrong(document: dict[str, Any]) -> None:
    for label, operation in operations(document).items():
        assert operation["summary"], label
        assert operation["description"], label
        expected = {"400", "413", "500", "503"}
        expected |= {"401", "403", "429"} if "security" in operation else set()
        assert expected <= operation["responses"].keys(), label
        for status, response in operation["responses"].items():
            assert response["description"], label
            if status >= "400" and (label, status) != ("GET /readyz", "503"):
                assert MEDIA_TYPE in response["content"], (label, status)


def test_every_body_and_answer_has_an_example_that_its_schema_allows(
    document: dict[str, Any],
) -> None:
    checked = 0
    for label, operation in operations(document).items():
        parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for part, described in parts.items():
            for kind, content in described.get("content", {}).items():
                if kind not in (JSON, MEDIA_TYPE):
                    continue
                examples = [one["value"] for one in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                assert examples, (label, part)
                schema = content.get("schema", {}) | {"components": document["components"]}
                for example in examples:
                    jsonschema.validate(example, schema)
                    checked += 1
    assert checked
