"""Panel, features, models, metrics, backtest and gate: pure functions of columns."""
