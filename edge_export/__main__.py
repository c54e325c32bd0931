"""`python -m edge_export` is the command line."""

from edge_export.cli import main

main()
