"""Tables and pictures for people, written from records; needs no torch."""
