"""Pages opened in a real browser, where there is one."""
