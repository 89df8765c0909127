"""Tables and pictures for people, made from records; needs no torch."""
