"""Sections of the report, a module for each subject: facts in, a piece of the page and its plots out."""
