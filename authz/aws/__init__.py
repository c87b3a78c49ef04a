"""What the adapters that speak to AWS share: the client, its errors, its budget. Imports boto3 only when used."""
