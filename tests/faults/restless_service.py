"""A mortal control plane where a job makes room for another from its first step on."""

from service.scheduling import preemption
from tests.faults.mortal_service import die_where_told

if __name__ == "__main__":
    preemption.UNDISTURBED_S = 0.0
    die_where_told()
