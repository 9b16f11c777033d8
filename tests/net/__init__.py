"""The whole thing on a network: real clients, a real dnsdist, the service between them."""
