"""The API: one table of routes, which also describes it.

routes.py      the table of routes
handlers.py    one function a resource
uploads.py     requests with rules in their body
rule_lists.py  a body with many rules, read in parts
documents.py   what is accepted and answered: the types that check and describe
limit_documents.py  the same for limits, and their converter
live_documents.py  the same for the live stream, and their converter
publish_documents.py  the same for what is published in zones
publishing.py  requests about that
sample_documents.py  the same for samples, and their converter
sample_view.py  what the API needs of the service about samples
shared_samples.py  what streams show of samples, made once for all of them
streams.py     what goes on for a while: events until the client leaves, samples
converter.py   the service's values to documents, off the loop
queries.py     the parameters, in the same way
openapi.py     openapi.json from the table
backend.py     what the API needs of the service: a protocol a resource
keys.py        what the application carries to its handlers
"""
