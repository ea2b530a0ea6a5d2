"""The parts of a message (RFC 2045, RFC 2046), read afterwards and as far as they can be understood.

mime            how they are nested, for people
contents        what can be searched: the text of a message, and the names of its attachments
parameters      the parameters of Content-Type and Content-Disposition (RFC 2231, and what programs write instead)
markup          the text of HTML
office          the text of office documents
pdf             the text of PDF
"""
