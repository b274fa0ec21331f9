"""Tracer models: how nutrients, carbon and oxygen react on a circulation."""
