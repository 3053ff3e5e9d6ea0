"""Writes reference_values.csv: what Google's dp_accounting says of a grid of
Poisson-sampled Gaussians (add or remove one).

    python3 -m venv VENV && VENV/bin/pip install dp-accounting==0.6.0
    VENV/bin/python make_reference_values.py > reference_values.csv

Columns: parameters; epsilon by RDP at its default orders, and the best order;
epsilon by PLD at its default grid (1e-4); epsilon by its optimistic and its
pessimistic PLD at a grid chosen from the scale of one step's loss, which bracket
the truth independently of our code (the optimistic one loosely: it only has the
algorithm that rounds each loss down). Empty where a PLD would not fit in memory;
where the sampling probability is 1 our tests use the closed form.
"""

import importlib.metadata
import math
import sys

import dp_accounting
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import RdpAccountant

SAMPLING = [1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0]
MULTIPLIERS = [0.3, 0.6, 1.0, 2.0, 5.0, 10.0]
STEPS = [1, 10, 100, 1000, 5000, 20000]
DELTAS = [1e-5, 1e-6, 1e-7, 1e-9]


def grid():
    for i, q in enumerate(SAMPLING):
        for j, z in enumerate(MULTIPLIERS):
            # Two numbers of steps and two deltas for each pair, all of them
            # equally often.
            for k in range(2):
                yield (q, z, STEPS[(i + j + 3 * k) % 6],
                       DELTAS[(i + 2 * j + k) % 4])
    # Headline points.
    yield 0.01, 1.0, 10000, 1e-5
    yield 5000 / 763430, 1.0, 5000, 1e-9
    yield 0.001, 0.8, 2000, 1e-6
    yield 0.02, 1.1, 3000, 1e-5
    yield 0.005, 2.0, 20000, 1e-6
    yield 0.05, 4.0, 20000, 1e-6
    yield 1e-4, 0.5, 20000, 1e-9
    yield 0.002, 0.7, 10000, 1e-7


def rdp(q, z, steps, delta):
    accountant = RdpAccountant()
    accountant.compose(
        dp_accounting.PoissonSampledDpEvent(
            q, dp_accounting.GaussianDpEvent(z)), steps)
    return accountant.get_epsilon_and_optimal_order(delta)


def pld(q, z, steps, delta, interval, pessimistic):
    one = privacy_loss_distribution.from_gaussian_mechanism(
        standard_deviation=z, sampling_prob=q, use_connect_dots=True,
        pessimistic_estimate=pessimistic,
        value_discretization_interval=interval)
    # The mass that self-composition cuts off goes to infinity, or nowhere where
    # the estimate is optimistic.
    return one.self_compose(steps).get_epsilon_for_delta(delta)


def main():
    version = importlib.metadata.version('dp-accounting')
    print(f'# dp-accounting {version}, by make_reference_values.py')
    print('sampling_probability,noise_multiplier,steps,delta,rdp_epsilon,'
          'rdp_order,pld_epsilon,pld_optimistic,pld_pessimistic')
    for q, z, steps, delta in grid():
        epsilon, order = rdp(q, z, steps, delta)
        values = ['', '', '']
        if q < 1 and epsilon < 300:
            values[0] = repr(float(pld(q, z, steps, delta, 1e-4, True)))
            # From the spread of one step's loss, where sampling is rare and
            # the noise is not tiny.
            spread = q * math.sqrt(math.expm1(min(1 / z**2, 4)))
            interval = min(1e-4, spread / 40)
            if steps == 1:
                interval = min(interval, 1e-5)
            try:
                values[1] = repr(float(
                    pld(q, z, steps, delta, interval, False)))
                values[2] = repr(float(
                    pld(q, z, steps, delta, interval, True)))
            except (MemoryError, ValueError) as error:
                print(f'{q} {z} {steps} {delta}: {error}', file=sys.stderr)
        print(','.join([repr(q), repr(z), str(steps), repr(delta),
                        repr(float(epsilon)), repr(float(order))] + values),
              flush=True)


if __name__ == '__main__':
    main()
