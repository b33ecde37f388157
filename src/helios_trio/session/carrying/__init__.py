"""Carrying the state of a session from one server connection to another: what is asked, said and compared.

Plans are generators (`steps`): they yield what shall be sent to either side and get the answers back. No I/O here.
"""
