"""mlpipe's own commands on files of mml-core: upgrade."""
