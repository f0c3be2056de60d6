"""One module per API: read the request, ask a service, fill the response."""
