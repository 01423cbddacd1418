"""Which store one is."""

import re
from contextlib import closing
from pathlib import Path

from service.access.caller import EVERYONE
from service.store.outbox import due_deliveries
from service.store.store import Store
from service.store.webhooks import create_webhook, list_webhooks
from service.webhooks.happenings import ENDED
from service.webhooks.records import Delivery, Webhook
from service.webhooks.signing import new_secret
from tests.unit.service.conftest import job_in, now
from tests.unit.service.databases import change
from trainer.contract.status import Status

GUIDE = Path(__file__).parents[4] / "docs" / "store.md"


def due(store: Store) -> list[Delivery]:
    return store.read(
        lambda connection: due_deliveries(connection, now(), at_most=9, of_owner=9, of_each=9)
    )


def test_a_copy_is_made_another_store_that_tells_nobody_as_its_guide_says(
    store: Store, store_url: str
) -> None:
    webhook = Webhook(
        id="a",
        owner=None,
        all_jobs=True,
        url="https://hooks.example.org/a",
        events=frozenset(ENDED),
        secret=new_secret(),
        description="",
        created_at=now(),
    )
    store.write(lambda connection: create_webhook(connection, webhook, EVERYONE, now()))
    job_in(store, Status.SUCCEEDED, "told")
    original = store.id
    assert due(store) != []
    (script,) = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for statement in script.split(";"):
        if statement.strip():
            change(store_url, statement)
    with closing(Store(store_url)) as copy:
        assert copy.id != original
        assert due(copy) == []
        assert copy.read(lambda connection: list_webhooks(connection, EVERYONE)) == []
        assert copy.job("told").status is Status.SUCCEEDED
