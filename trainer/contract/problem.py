"""The one problem document (RFC 9457) that an attempt acts on."""

PROBLEM_MEDIA_TYPE = "application/problem+json"

# Said by the control plane that knows better, and by nobody who happens to answer in its place.
ATTEMPT_DISOWNED = "urn:alexnet:problem:attempt-disowned"
"""`type` of the answer to an attempt that is not, or no longer, the current one of its job."""
