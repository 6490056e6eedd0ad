"""Two made-up retailers whose deliveries are complete, forecastable and wrong in the ways of real life.

Guarantee: a pure function of its arguments; each delivery says what must become of it.
"""

from cli.simulate.deliveries import Deliveries, Delivery, Expected, live_sales
from cli.simulate.scenario import plan, plan_week

__all__ = ["Deliveries", "Delivery", "Expected", "live_sales", "plan", "plan_week"]
