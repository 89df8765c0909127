"""What mlpipe's own commands do with files of mml-core: upgrade."""
