"""What the server says of itself, from an OpenAPI or a Core API document.

Promises: endpoints with their fields, filters and methods in one form, whatever the document; what a document leaves
open is open here, too. An unreadable document is a domain error.
Needs: nothing but its text.
"""
