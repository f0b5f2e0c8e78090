"""The REST API of Alyx: log-in, schema, pages, records, and what is known of them."""
