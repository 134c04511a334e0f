"""Turns texts into documents files (schemas/documents_file.md): the parts of tools/prepare_documents.py."""
