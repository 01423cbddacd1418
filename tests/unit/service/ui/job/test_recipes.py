"""The same job again."""

import ast
import json
import shlex

from service.ui.job.recipes import recipes
from tests.unit.service.conftest import make_spec
from trainer.contract.spec import JobSpec

URL = "http://127.0.0.1:8000"
# A path may have any character.
SPEC = make_spec(data={"train": "/d/it's $(here) `x`/t.json", "validation": "/d/\nEND\n.json"})


def texts(*, by_token: bool = False) -> dict[str, str]:
    return {one.id: one.text for one in recipes(SPEC, URL, by_token=by_token)}


def test_curl_sends_the_spec_whatever_is_in_it() -> None:
    words = shlex.split(texts()["recipe-curl"].replace("\\\n", " "))
    assert words[:2] == ["curl", f"{URL}/jobs"]
    assert JobSpec.model_validate_json(words[words.index("-d") + 1]) == SPEC


def test_the_command_line_reads_the_spec_as_it_is_written() -> None:
    first, _, rest = texts()["recipe-cli"].partition("\n")
    document, _, command = rest.partition("\nEND\n")
    assert first == "cat > job.json <<'END'"
    assert JobSpec.model_validate_json(document) == SPEC
    assert command == f"alexnet submit job.json --url {URL}"


def test_python_submits_the_spec() -> None:
    tree = ast.parse(texts()["recipe-python"])
    request = next(node for node in tree.body if isinstance(node, ast.Assign))
    assert JobSpec.model_validate(ast.literal_eval(request.value)) == SPEC


def test_the_whole_spec_has_the_defaults_too() -> None:
    assert json.loads(texts()["recipe-spec"]) == SPEC.model_dump(mode="json")


def test_a_token_is_named_and_never_written_out() -> None:
    assert "Authorization" not in texts()["recipe-curl"]
    assert '-H "Authorization: Bearer $ALEXNET_TOKEN"' in texts(by_token=True)["recipe-curl"]
