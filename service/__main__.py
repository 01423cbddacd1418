"""`python -m service` is `alexnet`."""

from service.cli import main

main()
