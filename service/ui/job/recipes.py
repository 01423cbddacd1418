"""The same job again: its spec, and how curl, the command line and Python submit it. Pure."""

import json
import shlex
from dataclasses import dataclass
from pprint import pformat

from trainer.contract.spec import JobSpec

_WIDTH = 88


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A text to copy."""

    id: str
    title: str
    text: str


def recipes(spec: JobSpec, url: str, *, by_token: bool) -> tuple[Recipe, ...]:
    """Return the ways to submit a spec to the service at an address.

    `by_token`: the service asks for tokens; one is never written out.
    """
    whole = json.dumps(spec.model_dump(mode="json"), indent=2, ensure_ascii=False)
    # Defaults are the service's own.
    short = spec.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(short, indent=2, ensure_ascii=False)
    return (
        Recipe(id="recipe-curl", title="curl", text=_curl(text, url, by_token=by_token)),
        Recipe(id="recipe-cli", title="Command line", text=_command(text, url)),
        Recipe(id="recipe-python", title="Python", text=_python(short, url)),
        Recipe(id="recipe-spec", title="Whole spec", text=whole),
    )


def _curl(text: str, url: str, *, by_token: bool) -> str:
    token = ' \\\n  -H "Authorization: Bearer $ALEXNET_TOKEN"' if by_token else ""
    return (
        f"curl {shlex.quote(f'{url}/jobs')}{token} \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(text)}"
    )


def _command(text: str, url: str) -> str:
    # No line of a JSON object that is indented is this word.
    return f"cat > job.json <<'END'\n{text}\nEND\nalexnet submit job.json --url {shlex.quote(url)}"


def _python(short: dict[str, object], url: str) -> str:
    request = pformat(short, width=_WIDTH, sort_dicts=False)
    return (
        "from service.client.client import Client\n\n"
        f"request = {request}\n\n"
        f"with Client({url!r}) as client:\n"
        "    print(client.submit(request).id)"
    )
