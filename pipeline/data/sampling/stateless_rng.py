"""Random numbers that are a pure function of (seed, step, purpose, sample).

This is a counter-based generator: every number is a hash of its coordinates, so numbers have no sequence and there is
no state to save. The same sample gets the same numbers on any rank, in any micro-batch, on the CPU and on a GPU. The
hash is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), applied twice.
"""

import hashlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


def derive_key(seed: int, *path: int | str) -> int:
    """Return a signed 64-bit key for the coordinates ``path`` under ``seed``.

    Distinct paths give independent keys: ``derive_key(seed, step, "strong")``.
    """
    text = "/".join([str(seed), *(str(part) for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def random_bits(key: int, samples: Tensor, draws: int) -> Tensor:
    """Return uniform 64-bit patterns, int64 [B, draws].

    Args:
        key: from :func:`derive_key`.
        samples: int64 [B], what gets the numbers: slots of the global batch, or indices of the data set.
        draws: how many numbers each sample gets.
    """
    counters = torch.arange(draws, device=samples.device) * _signed(_GOLDEN)
    return _mix(_mix(samples[:, None] ^ key) + counters)


def uniform(key: int, samples: Tensor, draws: int) -> Tensor:
    """Return uniform numbers in [0, 1), float32 [B, draws]; for the arguments see :func:`random_bits`."""
    return (random_bits(key, samples, draws) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def permutation(key: int, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Return a permutation of ``range(size)`` as int64 [size], the same on every device and torch version."""
    bits = random_bits(key, torch.arange(size, device=device), 1).squeeze(1)
    return torch.argsort(bits, stable=True)


def _mix(z: Tensor) -> Tensor:
    z = z + _signed(_GOLDEN)
    z = (z ^ _shift_right(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift_right(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Return the logical right shift. The operator >> of int64 is arithmetic and would copy the sign bit."""
    return (z >> bits) & (_WORD >> bits)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
