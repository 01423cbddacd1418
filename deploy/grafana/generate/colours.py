"""One colour for one thing, on every dashboard."""

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
BLUE, GREY = "blue", "#8e8e8e"

# Of statuses and outcomes: grey waits or was given up, blue is at work, green and red have ended.
OF_STATUS = {
    "QUEUED": GREY,
    "STARTING": "light-blue",
    "RUNNING": BLUE,
    "PAUSING": "light-purple",
    "PAUSED": "purple",
    "RETRYING": ORANGE,
    "CANCELLING": YELLOW,
    "SUCCEEDED": GREEN,
    "FAILED": RED,
    "CANCELLED": "#5a5a5a",
}
OF_ANSWERS = {"/^2/": GREEN, "/^3/": BLUE, "/^4/": YELLOW, "/^5/": RED}
OF_DELIVERIES = {"delivered": GREEN, "failed": ORANGE, "given_up": RED}
OF_QUANTILES = {"p50": "light-blue", "p95": BLUE, "p99": "dark-blue", "mean": "light-blue"}
OF_ERRORS = {"top-1": ORANGE, "top-5": BLUE}
# Red and orange wait for something, blue computes, purple speaks to others.
OF_PHASE = {
    "data_wait": RED,
    "transfer": ORANGE,
    "compute": "light-blue",
    "forward": BLUE,
    "backward": "dark-blue",
    "exchange": "light-purple",
    "all_reduce": "purple",
    "optimizer": GREEN,
    "checkpoint": YELLOW,
    "evaluation": "super-light-blue",
    "other": GREY,
}
OF_STAGE = {
    "fetch": RED,
    "read": ORANGE,
    "decode": BLUE,
    "augment": "purple",
    "collate": GREEN,
}
OF_SOURCE = {"local": GREEN, "cache": BLUE, "remote": ORANGE}
OF_CACHE = {"hit": GREEN, "miss": ORANGE}
