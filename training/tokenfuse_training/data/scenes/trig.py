"""Cosine and sine of whole degrees as integers: libm may differ between machines."""

from __future__ import annotations

ONE = 4096

# round(4096 · cos(d)) for d = 0 to 90 degrees.
# fmt: off
_QUARTER = (
    4096, 4095, 4094, 4090, 4086, 4080, 4074, 4065, 4056, 4046, 4034, 4021, 4006,
    3991, 3974, 3956, 3937, 3917, 3896, 3873, 3849, 3824, 3798, 3770, 3742, 3712,
    3681, 3650, 3617, 3582, 3547, 3511, 3474, 3435, 3396, 3355, 3314, 3271, 3228,
    3183, 3138, 3091, 3044, 2996, 2946, 2896, 2845, 2793, 2741, 2687, 2633, 2578,
    2522, 2465, 2408, 2349, 2290, 2231, 2171, 2110, 2048, 1986, 1923, 1860, 1796,
    1731, 1666, 1600, 1534, 1468, 1401, 1334, 1266, 1198, 1129, 1060, 991, 921,
    852, 782, 711, 641, 570, 499, 428, 357, 286, 214, 143, 71, 0,
)
# fmt: on


def cosine(degrees: int) -> int:
    """round(4096 · cos(degrees))."""
    degrees = abs(degrees) % 360
    if degrees > 180:
        degrees = 360 - degrees
    return _QUARTER[degrees] if degrees <= 90 else -_QUARTER[180 - degrees]


def sine(degrees: int) -> int:
    """round(4096 · sin(degrees))."""
    return cosine(degrees - 90)
