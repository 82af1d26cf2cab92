"""The page: what is to be shown, as plain values, and how it becomes one file of HTML."""

from pyro_vae.report.page.parts import Chapter, Page, Picture, Section, Table
from pyro_vae.report.page.render import render

__all__ = ["Chapter", "Page", "Picture", "Section", "Table", "render"]
