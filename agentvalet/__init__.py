"""The composition root: settings, routes, processes. Business rules live in the apps."""
