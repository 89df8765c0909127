"""Additions to mlpipe's own commands for files of mml-core: upgrade."""
