"""`authz avp`: brings a folder of policies and a policy store of Verified Permissions to the same content."""
