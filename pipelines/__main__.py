"""`python -m pipelines` is the `archiver` command."""

from pipelines.cli import main

main()
