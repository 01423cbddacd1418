"""The order of an attempt as a file: written whole, and for its owner's eyes."""

import logging

from pydantic import ValidationError

from trainer.contract.attempt import AttemptOrder
from trainer.contract.durable import write_whole
from trainer.contract.run_directory import AttemptDirectory

_log = logging.getLogger(__name__)


def write_order(attempt: AttemptDirectory, order: AttemptOrder) -> None:
    """Create the attempt's folder with its order, readable by its owner alone: it holds a token.

    Raises FileExistsError if there is such a folder.
    """
    attempt.path.mkdir(parents=True)
    replace_order(attempt, order)


def replace_order(attempt: AttemptDirectory, order: AttemptOrder) -> None:
    """Write an order into the folder of an attempt. Raises FileNotFoundError if there is none."""
    write_whole(attempt.order, order.model_dump_json(indent=1).encode(), mode=0o600)


def read_order(attempt: AttemptDirectory) -> AttemptOrder:
    """Read what the attempt is told to do. Raises OSError, or ValidationError if it is no order."""
    return AttemptOrder.model_validate_json(attempt.order.read_bytes())


def order_of(attempt: AttemptDirectory) -> AttemptOrder | None:
    """Read what the attempt was told to do; None where it has no order, and so never began."""
    try:
        return read_order(attempt)
    except FileNotFoundError:
        return None
    except ValidationError:
        # Without the error's text, which quotes the file: it may hold a token.
        _log.warning("%s is not an order; its attempt is taken not to have begun", attempt.order)
        return None
