"""Where samples lie: folders of classes or of parts, pairs of folders, tables, arrays, volumes, functions of the user's own."""
