"""A control plane that counts no failures, and so gives nothing up: what trials must notice."""

from service.jobs import lifecycle
from service.terminal.cli import main

if __name__ == "__main__":
    lifecycle._failures_before = lambda _job, _seen: 0  # type: ignore[assignment]
    main()
