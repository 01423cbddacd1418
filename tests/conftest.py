"""What holds for every test."""

from hypothesis import settings

# The machines are shared and noisy: no test may fail for its duration. Derandomised, the examples
# are the same in every run, until the test or the code that it draws from changes.
settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("project")
