"""Run the command line as ``python -m lightstage.cli``."""

from lightstage.cli import main

main()
