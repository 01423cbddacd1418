"""Requests as `/docs` shows them."""

from typing import Any

SUBMISSIONS: dict[str, Any] = {
    "small": {
        "summary": "A quarter-width network that learns in minutes on two cores",
        "value": {
            "preset": "small",
            "name": "first light",
            "data": {
                "train": "/data/fashion-mnist/train/manifest.json",
                "validation": "/data/fashion-mnist/validation/manifest.json",
            },
        },
    },
    "paper": {
        "summary": "The paper's network and recipe on four pairs of GPUs",
        "value": {
            "name": "paper",
            "data": {
                "train": "/data/imagenet/train/manifest.json",
                "validation": "/data/imagenet/validation/manifest.json",
            },
            "scale": {"replicas": 4, "accelerator": "gpu"},
        },
    },
    "large_batch": {
        "summary": "The paper's network on many replicas, 128 images each",
        "value": {
            "preset": "large_batch",
            "name": "large batch",
            "data": {
                "train": "/data/imagenet/train/manifest.json",
                "validation": "/data/imagenet/validation/manifest.json",
            },
            "scale": {"replicas": 8, "accelerator": "gpu"},
        },
    },
    "ensemble": {
        "summary": "The validation error of two trained networks together, by ten views",
        "value": {
            "kind": "evaluate",
            "name": "two networks",
            "data": {
                "train": "/data/imagenet/train/manifest.json",
                "validation": "/data/imagenet/validation/manifest.json",
            },
            "evaluation": {"checkpoints": ["job:0123456789ab", "job:ba9876543210@900000"]},
        },
    },
    "calibration": {
        "summary": "How fast the paper's network trains on four pairs of GPUs, by some steps of it",
        "value": {
            "kind": "calibrate",
            "name": "calibration of paper",
            "data": {
                "train": "/data/imagenet/train/manifest.json",
                "validation": "/data/imagenet/validation/manifest.json",
            },
            "scale": {"replicas": 4, "accelerator": "gpu"},
        },
    },
    "clone": {
        "summary": "An earlier job again, with twice its learning rate",
        "value": {"clone": "0123456789ab", "optim": {"learning_rate": 0.02}},
    },
}
CHANGES: dict[str, Any] = {
    "rate": {
        "summary": "Another learning rate, and the default of weight decay",
        "value": {"optim": {"learning_rate": 0.02, "weight_decay": None}},
    },
}
