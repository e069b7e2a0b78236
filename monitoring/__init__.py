"""Observes; nothing below the service imports it."""
