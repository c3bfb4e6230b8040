"""``python -m wordbrush`` is the command line."""

from wordbrush.cli import main

main()
