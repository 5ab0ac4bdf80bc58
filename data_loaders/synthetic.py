"""Simulated brain data in the formats of real data sets, with known truth."""

from data_loaders.simulated_algonauts import simulate_algonauts
from data_loaders.simulated_brain import SimulatedBrain
from data_loaders.simulated_nsd import simulate_nsd
from data_loaders.simulated_settings import n_pictures

__all__ = ["SimulatedBrain", "n_pictures", "simulate_algonauts", "simulate_nsd"]
