"""``python -m cloudslice`` is the same as ``cloudslice``."""

from cloudslice.cli.main import main

main()
