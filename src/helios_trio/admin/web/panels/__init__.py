"""The scripts of the core panels, one ES module each; `admin.web` lists them.

Used by: admin.console_page (reads them).
"""
