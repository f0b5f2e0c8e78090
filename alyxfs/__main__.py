"""``python -m alyxfs`` is the command ``alyxfs``."""

from alyxfs.cli import main

main()
