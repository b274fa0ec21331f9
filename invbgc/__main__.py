"""``python -m invbgc`` is the command line."""

from invbgc.cli import main

main()
