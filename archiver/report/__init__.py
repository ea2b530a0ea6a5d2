"""What a run did. docs/formats.md specifies the JSON.

document    the report as a value
verdict     whether all is well, in plain words
units       a stored report read again, its numbers in words
page        the HTML page, complete in one file
"""
