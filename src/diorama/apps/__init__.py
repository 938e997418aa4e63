"""Models behind a web page (`diorama demo`) and behind an HTTP interface (`diorama serve`); each needs its extra."""
