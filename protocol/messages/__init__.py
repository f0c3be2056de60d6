"""One module per API: its request and response as version-less dataclasses with Kafka's names."""
