"""``python -m subpath``: the command line."""

from .cli.app import main

main()
