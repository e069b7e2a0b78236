"""What runs inside the process that runs a program: the standard library only, none of our packages."""
