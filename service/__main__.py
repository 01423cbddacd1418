"""`python -m service` is `alexnet`."""

from service.terminal.cli import main

main()
