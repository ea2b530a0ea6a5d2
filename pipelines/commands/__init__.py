"""What the verbs do; `pipelines.cli` reads the command line and imports one of these when its verb is given."""
