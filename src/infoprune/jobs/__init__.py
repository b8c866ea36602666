"""Jobs: what each command does from folder to folder, as functions; the command line only calls them."""
