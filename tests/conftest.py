# SPDX-License-Identifier: Apache-2.0
"""Properties that do not say how many examples they want get hypothesis' hundred, or the everyday share of it."""

from hypothesis import settings

from tests.examples import examples

settings.register_profile("kproxy", max_examples=examples(100))
settings.load_profile("kproxy")
