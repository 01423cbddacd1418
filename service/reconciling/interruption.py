"""What is stored of a stop where the reconciler, which would see to each job, does not end."""

import logging
import threading

from service.reconciling.reconciler import INTERRUPTED
from service.store.attempts import note_verdict_of_all
from service.store.leases import LostLeadershipError
from service.store.store import Store

logger = logging.getLogger(__name__)

# What hangs may hold the store's lock, and a stop must not take for ever.
PATIENCE_S = 5.0


def note_interruption(store: Store) -> bool:
    """Write down that attempts which end now are not to blame; say whether they may be ended.

    They may not where another process leads. Without an answer of the store in time they may, and
    the next leader finds them lost.
    """
    refused = threading.Event()

    def note() -> None:
        try:
            store.write(lambda connection: note_verdict_of_all(connection, INTERRUPTED))
        except LostLeadershipError as error:
            refused.set()
            logger.warning("%s", error)
        except Exception:
            logger.exception("the store was not told of the stop: its attempts are found lost")

    noting = threading.Thread(target=note, name="interruption", daemon=True)
    noting.start()
    noting.join(PATIENCE_S)
    if noting.is_alive():
        logger.error("the store does not answer: the attempts of this stop may be found lost")
    return not refused.is_set()
