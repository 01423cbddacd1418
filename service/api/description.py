"""The OpenAPI description, completed: problems that any request can meet, and examples."""

from collections.abc import Mapping
from typing import Any

from service.problems import MEDIA_TYPE, Problem, ProblemType

# What is answered before a route is asked, or whatever the route.
_ANYWHERE = (
    ProblemType.UNKNOWN_HOST,
    ProblemType.TOO_LARGE,
    ProblemType.FAILED,
    ProblemType.STORE_UNAVAILABLE,
)
# By every route that asks who sends a request.
_TO_SENDERS = (ProblemType.NO_TOKEN, ProblemType.NOT_ALLOWED, ProblemType.TOO_MANY_REQUESTS)
_JSON = "application/json"
_REFERENCE = "#/components/schemas/"
# Of fields that a schema alone would make a poor example of.
_VALUES: Mapping[str, Any] = {
    "id": "0123456789ab",
    "job_id": "0123456789ab",
    "name": "first light",
    "run_directory": "/var/lib/alexnet/runs/0123456789ab",
    "submission_id": "0123456789ab-1",
    "weights_sha256": "0" * 64,
    "url": "http://127.0.0.1:8000",
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Name problems by their media type, add those that can be met anywhere, and examples."""
    schemas = document["components"]["schemas"]
    schemas.setdefault("Problem", _problem_schema(schemas))
    for path in document["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            for response in responses.values():
                _name_problem(response.get("content", {}))
            for kind in (*_ANYWHERE, *(_TO_SENDERS if "security" in operation else ())):
                _add_problem(responses, kind)
            for status, response in responses.items():
                _add_examples(response.get("content", {}), status, schemas)
            body = operation.get("requestBody", {}).get("content", {})
            _add_examples(body, "request", schemas)
    return document


def _problem_schema(schemas: dict[str, Any]) -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template=_REFERENCE + "{model}")
    schemas.update(schema.pop("$defs", {}))
    return schema


def _name_problem(content: dict[str, Any]) -> None:
    # FastAPI describes every model as JSON, the type of the route's other answers.
    described = content.get(_JSON)
    if described is not None and described["schema"].get("$ref", "").endswith("/Problem"):
        content[MEDIA_TYPE] = content.pop(_JSON)


def _add_problem(responses: dict[str, Any], kind: ProblemType) -> None:
    responses.setdefault(
        str(kind.status),
        {
            "description": f"{kind.summary}.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REFERENCE}Problem"}}},
        },
    )


def _add_examples(content: dict[str, Any], status: str, schemas: Mapping[str, Any]) -> None:
    problem, answer = content.get(MEDIA_TYPE), content.get(_JSON)
    if problem is not None and "examples" not in problem:
        problem["examples"] = {
            kind.rpartition(":")[2]: {"summary": kind.summary, "value": _problem_of(kind)}
            for kind in ProblemType
            if str(kind.status) == status
        }
    if answer is not None and not {"example", "examples"} & answer.keys():
        answer["example"] = example_of(answer.get("schema", {}), schemas)


def _problem_of(kind: ProblemType) -> dict[str, Any]:
    return {
        "type": str(kind),
        "title": kind.summary,
        "status": kind.status,
        "detail": "What is wrong this time, where, and what to do.",
        "errors": [],
    }


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "") -> Any:
    """Return a value that a schema allows: its own example, a default, or the plainest there is."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].removeprefix(_REFERENCE)], schemas, name)
    given = [schema[own] for own in ("example", "const", "default") if own in schema]
    given += [schema[listed][0] for listed in ("examples", "enum") if schema.get(listed)]
    if given:
        return given[0]
    for either in ("anyOf", "oneOf", "allOf"):
        if either in schema:
            return example_of(schema[either][0], schemas, name)
    if "properties" in schema or schema.get("type") == "object":
        fields = schema.get("properties", {}).items()
        return {field: example_of(below, schemas, field) for field, below in fields}
    if schema.get("type") == "array":
        return _array(schema, schemas, name)
    return _scalar(schema, name)


def _array(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str) -> list[Any]:
    if "prefixItems" in schema:
        return [example_of(one, schemas, name) for one in schema["prefixItems"]]
    items = schema.get("items", {})
    return [example_of(items, schemas, name)] * max(schema.get("minItems", 1), 1)


def _scalar(schema: Mapping[str, Any], name: str) -> Any:
    match schema.get("type"):
        case "boolean":
            return False
        case "integer" | "number" as kind:
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
            value = least + 1 if "exclusiveMinimum" in schema else max(least, 1)
            value = min(value, schema.get("maximum", value))
            return int(value) if kind == "integer" else float(value)
        case "null":
            return None
    if schema.get("pattern") == "^[0-9a-f]{64}$":
        return "0" * 64
    if schema.get("format") == "date-time":
        return "2026-01-01T12:00:00Z"
    return _VALUES.get(name, "text")
