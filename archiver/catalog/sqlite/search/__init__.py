"""Messages found by their headers.

messages    the index that searches use
finding     a search as a statement
texts       which headers may hold a text: a file of its own
"""
