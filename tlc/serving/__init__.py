"""Programs that generate text, for a person at a terminal and for clients over HTTP."""
