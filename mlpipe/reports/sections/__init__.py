"""What the report says of a task, a module for each subject: facts in, a piece of the page and its plots out."""
