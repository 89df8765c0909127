"""Listings of samples: class folders, part folders, pairs of folders, tables, arrays, volumes, functions of users."""
