"""A method and a data set that join diorama by entry points."""
