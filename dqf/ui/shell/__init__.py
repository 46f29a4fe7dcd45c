"""What stands around every page: menu, addresses, sign-in, guard, downloads."""
