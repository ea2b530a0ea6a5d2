"""The verbs of the command line: their options and their help, by what they are for."""
