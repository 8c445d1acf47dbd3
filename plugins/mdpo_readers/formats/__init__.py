"""Named formats: what a stored row means, written once for each format.

written              lists and objects that are written as text
part_pictures        pictures in parts of messages, beside a column
pair                 what a format finds in a row
unread               columns that must not stay unread
unread_pictures      which of them hold pictures
unread_orders        which of them contradict the order of the answers
table_reader         the base class of all named readers
rows                 examples from the pairs of a table's rows
lines                the line of a recipe that reads a table, with the folder of its pictures
guesses              the options of `pairs` for a table of no known format
shapes               files that hold all rows in one object
recognition          which format a table has, by its columns
"""
