"""The report of a run. docs/formats.md specifies the JSON.

document    the report as a value
failures    what is missing or wrong, and what to do about it
balance     whether the books balance; a run's status and exit code (`judge`)
notices     what people should know, and what is no failure
verdict     the result in plain words
forgetting  forgotten messages taken out of stored reports
pruning     old reports are removed
units       stored reports completed, and numbers as text
page        the HTML page, complete in one file
fleet_page  that of many accounts, with a chart and a search
"""
