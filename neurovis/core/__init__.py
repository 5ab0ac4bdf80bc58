"""Types, checks, devices, random numbers and files shared by every package."""
