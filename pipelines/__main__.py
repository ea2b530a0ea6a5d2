"""`python -m pipelines` is the `archiver` command."""

from pipelines.cli.main import main

main()
