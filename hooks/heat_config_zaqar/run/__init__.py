"""55-heat-config: runs the hooks of the deployments, one at a time, each to one result.

Owns the processes of hooks, from their start to their end. Never talks to the network: results
leave by `deliver`.
"""
