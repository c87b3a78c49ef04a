"""Who calls: tokens verified against the keys of their issuers."""
