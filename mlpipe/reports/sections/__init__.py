"""Sections of the report, one module per subject: from facts to a piece of the page and its plots."""
