"""The doors: codecs (plain functions between a wire format and the core's nouns), and the hosts that carry them."""
