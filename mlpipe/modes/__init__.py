"""One file for each mode of the command line; each plans and runs resumable steps."""
