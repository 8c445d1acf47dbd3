"""`mdpo preview`: one page for a person, with some rows as the model gets them, and what the check found.

command              checks the data and writes the page
contents             what the page shows, without its form
tokens               which part of a prompt is whose
words                the words in which two answers differ
pictures             pictures inside of the page
page                 the page, from its contents
row_view             one row of it
"""
