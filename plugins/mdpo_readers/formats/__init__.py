"""Named formats: what a stored row means, written once for each format.

pair                 what a format finds in a row
table_reader         the base class of all named readers
rows                 examples from the pairs of a table's rows
lines                the line of a recipe that reads a table, with the folder of its pictures
recognition          which format a table has, by its columns
"""
