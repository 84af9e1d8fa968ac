"""Views: what people read, made from rows and the log; nothing is decided here."""
