"""Stands for the library that Graphite draws pictures with; nobody asks for one here."""
